/**
 * The content room over an in-memory blob store and a real metadata database, with the world around it under the
 * test's control: sources, the oracle, the clock, and what may be written.
 */
import assert from 'node:assert/strict';
import { BlobUse } from '#content/blob-use.ts';
import type { ClaimWriter, IndexChange } from '#content/claim-writer.ts';
import { Closure } from '#content/closure.ts';
import { Deliverability } from '#content/deliverability.ts';
import { Fill, type FillConfig } from '#content/fill.ts';
import { ManifestFetch } from '#content/manifest-fetch.ts';
import { ContentReader } from '#content/reader.ts';
import type { Sources, TagAnswer, Upstream } from '#content/upstream.ts';
import { ContentWriter } from '#content/writer.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { CLAIM_HEAD_BYTES } from '#domain/claim-layout.ts';
import { type Digest, digestOf, digestToBytes } from '#domain/digest.ts';
import { HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { parseRepositoryName, parseTag, type Tag } from '#domain/name.ts';
import { parseRegionName } from '#domain/region.ts';
import type { RequestContext } from '#domain/request-context.ts';
import { keyOfChange } from '#mesh/claims/changes.ts';
import type { Clock } from '#runtime/clock.ts';
import { silentLog } from '#runtime/log.ts';
import { Registry } from '#runtime/metrics.ts';
import { systemRandom } from '#runtime/random.ts';
import type { BlobStore } from '#storage/blob-store.ts';
import { openMemoryBlobStore } from '#storage/blob-store-memory.ts';
import type { BlobRows, ClaimKey, ManifestRow, Metadata } from '#storage/metadata.ts';
import { ManualClock } from '#test/client/manual-clock.ts';
import { openTemporaryMetadata } from '#test/storage/temporary.ts';

export const REPOSITORY = parseRepositoryName('team/app');
export const OTHER = parseRepositoryName('team/other');
export const LATEST: Tag = parseTag('latest');

/** A manual clock on which nobody sleeps: a back-off passes at once, and time-outs are rung by `advance`. */
export class RushingClock implements Clock {
  readonly slept: number[] = [];
  readonly #manual = new ManualClock();
  readonly #awaited = new Map<number, PromiseWithResolvers<void>>();

  nowMs = (): number => this.#manual.nowMs();
  monotonicMs = (): number => this.#manual.monotonicMs() + 1;
  every = (ms: number, tick: () => void): Disposable => this.#manual.every(ms, tick);
  advance = (ms: number): void => this.#manual.advance(ms);

  after = (ms: number, callback: () => void): Disposable => {
    this.#awaited.get(ms)?.resolve();
    this.#awaited.delete(ms);
    return this.#manual.after(ms, callback);
  };

  /** Resolves when the next timer of this length is set: whoever set it is waiting then. */
  timerSet(ms: number): Promise<void> {
    const awaited = Promise.withResolvers<void>();
    this.#awaited.set(ms, awaited);
    return awaited.promise;
  }

  async sleep(ms: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.slept.push(ms);
    this.advance(ms);
  }
}

export type ContentRig = AsyncDisposable & {
  readonly metadata: Metadata;
  readonly blobs: BlobStore;
  readonly clock: RushingClock;
  readonly metrics: Registry;
  readonly fill: Fill;
  readonly closure: Closure;
  readonly reader: ContentReader;
  readonly writer: ContentWriter;
  readonly claims: ClaimWriter;
  /** Whom `Sources` names for everything; `sourcesOf` is asked instead while it is set. */
  upstreams: readonly Upstream[];
  sourcesOf: (() => Promise<readonly Upstream[]>) | undefined;
  /** Digests that `Sources` names nobody for. */
  readonly nowhere: Set<Digest>;
  answer: TagAnswer;
  readonly resolved: string[];
  readonly readOnly: Map<string, string>;
  /** What was written as claims, one list a transaction. */
  readonly written: (readonly IndexChange[])[];
};

export type ContentRigOptions = {
  readonly fill?: Partial<FillConfig>;
  readonly blobs?: BlobStore;
  /** Stands before the rows of blobs. */
  readonly rowsOver?: (rows: BlobRows) => BlobRows;
};

export async function openContentRig(options: ContentRigOptions = {}): Promise<ContentRig> {
  await using stack = new AsyncDisposableStack();
  const metadata = stack.use(await openTemporaryMetadata());
  const blobs = options.blobs ?? openMemoryBlobStore({ random: systemRandom });
  const clock = new RushingClock();
  const metrics = new Registry();
  const outside = {
    upstreams: [] as readonly Upstream[],
    sourcesOf: undefined as (() => Promise<readonly Upstream[]>) | undefined,
    nowhere: new Set<Digest>(),
    answer: { outcome: 'absent' } as TagAnswer,
    resolved: [] as string[],
    readOnly: new Map<string, string>(),
    written: [] as (readonly IndexChange[])[],
  };
  const sources: Sources = {
    async of(_repository, digest) {
      if (rig.sourcesOf !== undefined) return await rig.sourcesOf();
      return outside.nowhere.has(digest) ? [] : rig.upstreams;
    },
  };
  const use = new BlobUse({ rows: metadata.blobUses, clock });
  const rows = options.rowsOver?.(metadata.blobs) ?? metadata.blobs;
  const seams = { blobs, use, rows, manifests: metadata.manifests, views: metadata.views };
  const runtime = { clock, random: systemRandom, log: silentLog, metrics };
  const fill = stack.use(new Fill({ ...seams, ...runtime }, { region: 'eu-west', ...options.fill }));
  const manifestFetch = new ManifestFetch({ sources, ...runtime });
  const closure = new Closure({ ...seams, manifestFetch, fill, sources });
  const deliverability = new Deliverability({ ...seams, sources, clock });
  const reader = new ContentReader(
    {
      ...seams,
      viewWrites: metadata.viewWrites,
      fill,
      manifestFetch,
      deliverability,
      sources,
      clock,
      log: silentLog,
      oracle: {
        async resolve(repository, tag) {
          outside.resolved.push(`${repository}:${tag}`);
          return rig.answer;
        },
      },
    },
    { region: 'eu-west' },
  );
  const claims = claimWriterOver(metadata, outside.written);
  const writer = new ContentWriter({
    ...seams,
    ...runtime,
    fill,
    closure,
    sources,
    claimWriter: claims,
    writeGuard: { refuseWrite: (repository) => outside.readOnly.get(repository) },
  });
  const owned = stack.move();
  const rig: ContentRig = Object.assign(outside, {
    metadata,
    blobs,
    clock,
    metrics,
    fill,
    closure,
    reader,
    writer,
    claims,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  });
  return rig;
}

/** Commits what the mesh would: views and bytes in one transaction. The claims themselves say nothing. */
export function claimWriterOver(metadata: Metadata, written: (readonly IndexChange[])[]): ClaimWriter {
  return {
    async write(changes, { principal, signal }) {
      signal.throwIfAborted();
      const keys = changes.map(keyOf);
      const stored = await metadata.claims.ofKeys(keys);
      const committed = await metadata.claims.commit({
        guards: stored.map(({ key, revision }) => ({ key, revision })),
        own: keys.map((key) => ({ key, bytes: new Uint8Array(CLAIM_HEAD_BYTES) })),
        foreign: [],
        views: changes.map((change, own) => ({
          ...keyOf(change),
          live: change.change === 'set-tag' || change.change === 'add-manifest',
          value: change.change === 'set-tag' ? digestToBytes(change.digest) : new Uint8Array(),
          winner: { own },
          principal,
          conflict: false,
        })),
        cursors: [],
        observed: HYBRID_TIME_ZERO,
        manifests: changes.flatMap((change) =>
          change.change === 'add-manifest' ? [{ ...change.manifest, repository: change.repository }] : [],
        ),
        nowMs: 1,
      });
      assert.equal(committed.outcome, 'committed');
      written.push(changes);
      const { region, epoch, sequence } = committed.origin;
      return { region, epoch, sequence };
    },
  };
}

function keyOf(change: IndexChange): ClaimKey {
  if ('document' in change) return keyOfChange(change);
  const { repository } = change;
  switch (change.change) {
    case 'set-tag':
    case 'delete-tag':
      return { kind: CLAIM_KIND.tag, repository, name: change.tag };
    case 'add-manifest':
      return { kind: CLAIM_KIND.manifest, repository, name: change.manifest.digest };
    case 'delete-manifest':
      return { kind: CLAIM_KIND.manifest, repository, name: change.digest };
  }
}

export function contextOf(signal: AbortSignal = new AbortController().signal, from?: string): RequestContext {
  const about = { requestId: 'request-1', principal: 'ada', signal };
  return from === undefined ? about : { ...about, from: parseRegionName(from) };
}

/** Bytes that differ everywhere, so that a piece in the wrong place is noticed. */
export function blobOf(sizeBytes: number, seed = 1): { readonly bytes: Uint8Array; readonly digest: Digest } {
  const words = new Uint32Array(Math.ceil(sizeBytes / 4));
  for (let at = 0; at < words.length; at += 1) words[at] = Math.imul(at + seed, 2_654_435_761);
  const bytes = new Uint8Array(words.buffer, 0, sizeBytes);
  return { bytes, digest: digestOf(bytes) };
}

export function descriptorOf(digest: Digest, size: number, mediaType = 'application/octet-stream'): object {
  return { digest, size, mediaType };
}

export function manifestOf(content: object, mediaType: string = MEDIA_TYPE.ociManifest): ManifestRow {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...content }));
  return { digest: digestOf(bytes), mediaType, bytes };
}

/** An image of these blobs, the first of which is its config. */
export function imageOf(
  blobs: readonly { readonly bytes: Uint8Array; readonly digest: Digest }[],
): ManifestRow {
  const [config, ...layers] = blobs.map(({ bytes, digest }) => descriptorOf(digest, bytes.byteLength));
  return manifestOf({ config, layers });
}

export function indexOf(children: readonly ManifestRow[]): ManifestRow {
  const manifests = children.map(({ digest, bytes, mediaType }) =>
    descriptorOf(digest, bytes.byteLength, mediaType),
  );
  return manifestOf({ manifests }, MEDIA_TYPE.ociIndex);
}

/** A blob that was pushed to the repository. */
export async function pushBlob(rig: ContentRig, bytes: Uint8Array, repository = REPOSITORY): Promise<Digest> {
  const context = contextOf();
  const upload = await rig.writer.startUpload(repository, context);
  await upload.append(once(bytes), { signal: context.signal });
  return (await rig.writer.finishUpload(repository, upload, digestOf(bytes), context)).digest;
}

export async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

export async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces);
}

/** All that came before the stream ended, and what it ended with. */
export async function drained(
  stream: AsyncIterable<Uint8Array>,
): Promise<{ readonly bytes: Buffer; readonly error: unknown }> {
  const pieces: Uint8Array[] = [];
  try {
    for await (const piece of stream) pieces.push(piece);
    return { bytes: Buffer.concat(pieces), error: undefined };
  } catch (error) {
    return { bytes: Buffer.concat(pieces), error };
  }
}
