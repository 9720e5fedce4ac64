/**
 * A region to replicate to: a real database, an index that commits claims in the shortest way, images whose blobs
 * are elsewhere, and a closure that brings them here when the test lets it.
 */
import assert from 'node:assert/strict';
import { setImmediate } from 'node:timers/promises';
import type { ClaimWriter, IndexChange } from '#content/claim-writer.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { CLAIM_HEAD_BYTES } from '#domain/claim-layout.ts';
import { type Digest, digestOf, digestToBytes } from '#domain/digest.ts';
import { HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { parseRepositoryName, type RepositoryName } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import { Roster } from '#mesh/membership/roster.ts';
import type { PoliciesInForce } from '#mesh/replication/planner.ts';
import type { ClosureCopier } from '#mesh/replication/worker.ts';
import { parsePolicies } from '#policies/parse.ts';
import { NO_POLICIES, type PolicySet, resolvePolicies } from '#policies/policy-set.ts';
import type { Log, LogFields } from '#runtime/log.ts';
import type { ClaimKey, ManifestRow, Metadata, TaskRow } from '#storage/metadata.ts';

export const ROSTER = new Roster({
  meshId: 'test',
  self: 'eu-west',
  regions: [
    { name: 'eu-west', number: 1, role: 'core' },
    { name: 'us-east', number: 2, role: 'core' },
  ],
});
export const SELF = ROSTER.self.name;

export function contextOf(principal = 'tester'): RequestContext {
  return { requestId: 'test', signal: new AbortController().signal, principal };
}

/** Far more than anything here takes, and short enough to fail by name. */
const PATIENCE_MS = 15_000;

/** Resolves when the condition holds, looked at again and again. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const endMs = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    assert.ok(performance.now() < endMs, `this did not come true: ${condition}`);
    await setImmediate();
  }
}

/** Lets everything that is ready go on, many times over: for what must *not* happen. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await setImmediate();
}

/** Writes claims of region 1, whose newest always prevails, and reports what changed. */
export class TestIndex implements ClaimWriter {
  readonly writes: (readonly IndexChange[])[] = [];
  readonly #metadata: Metadata;
  readonly #listeners = new Set<(keys: readonly ClaimKey[]) => void>();

  constructor(metadata: Metadata) {
    this.#metadata = metadata;
  }

  readonly onChanged = (listener: (keys: readonly ClaimKey[]) => void): Disposable => {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  };

  announce(keys: readonly ClaimKey[]): void {
    for (const listener of this.#listeners) listener(keys);
  }

  async write(changes: readonly IndexChange[], options: { readonly principal: string }) {
    const dot = await this.writeUnannounced(changes, options);
    this.announce(changes.map((change) => entryOf(change).key));
    return dot;
  }

  /** As if the event had been lost. */
  async writeUnannounced(changes: readonly IndexChange[], { principal } = { principal: 'tester' }) {
    this.writes.push(changes);
    const entries = changes.map(entryOf);
    const keys = await this.#metadata.claims.ofKeys(entries.map((entry) => entry.key));
    const result = await this.#metadata.claims.commit({
      guards: keys.map(({ key, revision }) => ({ key, revision })),
      own: entries.map(({ key }) => ({ key, bytes: new Uint8Array(CLAIM_HEAD_BYTES + 8) })),
      foreign: [],
      views: entries.map(({ key, value }, own) => ({
        ...key,
        live: value.length > 0,
        value,
        winner: { own },
        principal,
        conflict: false,
      })),
      cursors: [],
      observed: HYBRID_TIME_ZERO,
      manifests: [],
      nowMs: 1_800_000_000_000,
    });
    assert.ok(result.outcome === 'committed');
    return result.origin;
  }

  async tag(repository: string, tag: string, digest: Digest): Promise<void> {
    const change = { change: 'set-tag', repository: parseRepositoryName(repository), tag, digest } as const;
    await this.write([change], { principal: 'tester' });
  }

  async untag(repository: string, tag: string): Promise<void> {
    const change = { change: 'delete-tag', repository: parseRepositoryName(repository), tag } as const;
    await this.write([change], { principal: 'tester' });
  }
}

function entryOf(change: IndexChange): { readonly key: ClaimKey; readonly value: Uint8Array } {
  if (change.change === 'set-policy') {
    const key = { kind: CLAIM_KIND.policy, repository: '', name: change.name };
    return { key, value: new TextEncoder().encode(change.document) };
  }
  assert.ok(change.change === 'set-tag' || change.change === 'delete-tag');
  const key = { kind: CLAIM_KIND.tag, repository: change.repository, name: change.tag };
  return { key, value: change.change === 'set-tag' ? digestToBytes(change.digest) : new Uint8Array() };
}

export type TestImage = { readonly manifest: ManifestRow; readonly blobs: readonly Digest[] };

/** An image of two blobs of ten bytes; `seed` tells images apart. */
export function imageOf(seed: string): TestImage {
  const blobs = [digestOf(`${seed} config`), digestOf(`${seed} layer`)];
  const [config, layer] = blobs.map((digest) => ({
    mediaType: 'application/octet-stream',
    digest,
    size: 10,
  }));
  const mediaType = MEDIA_TYPE.ociManifest;
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers: [layer] }));
  return { manifest: { digest: digestOf(bytes), mediaType, bytes: new Uint8Array(bytes) }, blobs };
}

/** The image as a push here would have left it. */
export async function storeImage(metadata: Metadata, repository: string, image: TestImage): Promise<void> {
  const name = parseRepositoryName(repository);
  await metadata.manifests.record(name, image.manifest);
  for (const digest of image.blobs) {
    await metadata.blobs.record({ digest, sizeBytes: 10, source: 'push', storedMs: 1 }, name);
  }
}

type Call = {
  readonly repository: RepositoryName;
  readonly digest: Digest;
  readonly context: RequestContext;
  finish(): void;
  fail(thrown: unknown): void;
};

/** Each call waits for the test, unless `auto`; it ends with the signal, unless `deaf`. */
export class TestClosure implements ClosureCopier {
  readonly calls: Call[] = [];
  readonly images = new Map<string, TestImage>();
  auto: 'finish' | 'wait' | Error = 'finish';
  deaf = false;
  running = 0;
  runningMax = 0;
  readonly #metadata: Metadata;

  constructor(metadata: Metadata, images: readonly TestImage[] = []) {
    this.#metadata = metadata;
    for (const image of images) this.images.set(image.manifest.digest, image);
  }

  async complete(repository: RepositoryName, digest: Digest, context: RequestContext) {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    if (!this.deaf) context.signal.addEventListener('abort', () => reject(context.signal.reason));
    this.calls.push({ repository, digest, context, finish: resolve, fail: reject });
    this.running += 1;
    this.runningMax = Math.max(this.runningMax, this.running);
    if (this.auto instanceof Error) reject(this.auto);
    if (this.auto === 'finish') resolve();
    try {
      await promise;
    } finally {
      this.running -= 1;
    }
    const image = this.images.get(digest);
    if (image !== undefined) await storeImage(this.#metadata, repository, image);
    return { bytes: 20, blobs: 2 };
  }
}

/** Policies that the test puts in force. */
export class TestPolicies implements PoliciesInForce {
  #set: PolicySet = NO_POLICIES;
  readonly #listeners = new Set<() => void>();

  constructor(text = '') {
    if (text !== '') this.set(text);
  }

  current(): PolicySet {
    return this.#set;
  }

  onChange(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** An empty text: none. */
  set(text: string): void {
    const policies = text === '' ? [] : parsePolicies(text, 'test.yaml').policies;
    const { set, problems } = resolvePolicies(policies, { regions: ROSTER.regions.map(({ name }) => name) });
    assert.deepEqual(problems, []);
    this.#set = set;
    for (const listener of this.#listeners) listener();
  }
}

export type PolicyText = { readonly select?: string; readonly to?: string; readonly suspend?: boolean };

export function replicationText(name: string, { select, to, suspend }: PolicyText = {}): string {
  return `---
apiVersion: fairway/v1
kind: ReplicationPolicy
metadata: {name: ${name}}
spec:
  select: ${select ?? '{repositories: ["**"]}'}
  to: ${to ?? '{regions: all}'}
  suspend: ${suspend ?? false}
`;
}

export const PROXY_TEXT = `---
apiVersion: fairway/v1
kind: ProxyCache
metadata: {name: docker-hub}
spec:
  serve: {prefix: hub}
  upstreams: [hub]
---
apiVersion: fairway/v1
kind: UpstreamRegistry
metadata: {name: hub}
spec:
  url: https://registry.example
`;

export type LogLine = { readonly level: string; readonly event: string; readonly fields: LogFields };

/** Keeps what was logged. */
export function recordingLog(
  lines: LogLine[] = [],
  base: LogFields = {},
): Log & { readonly lines: LogLine[] } {
  const write =
    (level: string) =>
    (event: string, fields: LogFields = {}) => {
      lines.push({ level, event, fields: { ...base, ...fields } });
    };
  return {
    lines,
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    with: (fields) => recordingLog(lines, { ...base, ...fields }),
  };
}

/** Every task, the oldest first. */
export async function tasksOf(metadata: Metadata): Promise<readonly TaskRow[]> {
  const rows = await metadata.tasks.list({ states: ['queued', 'running', 'done', 'parked'], limit: 10_000 });
  return rows.toSorted((a, b) => a.id - b.id);
}
