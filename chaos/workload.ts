/**
 * Clients: they push, move tags, delete tags and manifests, and set policies, over few names, so that writes meet.
 * Each waits for its answer; a client whose region dies first does not know what became of its write.
 */

import type { IndexChange } from '#content/claim-writer.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { type Digest, digestOf, digestToBytes } from '#domain/digest.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { parseRepositoryName, type RepositoryName } from '#domain/name.ts';
import { keyOfChange } from '#mesh/claims/changes.ts';
import type { Output } from '#mesh/claims/step.ts';
import type { Checker, Expected } from './checker.ts';
import type { EventQueue } from './event-queue.ts';
import type { Look, Looks } from './looks.ts';
import type { Prng } from './prng.ts';
import type { RegionProcess } from './region-process.ts';
import type { WorkloadPlan } from './scenario.ts';
import type { Trace } from './trace.ts';

export type WorkloadDeps = {
  readonly queue: EventQueue;
  readonly trace: Trace;
  readonly prng: Prng;
  readonly checker: Checker;
  readonly processes: readonly RegionProcess[];
  readonly looks: Looks;
};

type Write = {
  readonly process: RegionProcess;
  readonly changes: readonly IndexChange[];
  /** What others answered before it, where it looked. */
  look: Look | undefined;
};
type Pushed = { readonly repository: RepositoryName; readonly digest: Digest };

const REPOSITORIES = ['library/app', 'team/tool'].map(parseRepositoryName);
const POLICIES = ['everywhere', 'nowhere'];
/** Pushed digests that clients remember; older ones are neither tagged nor deleted again. */
const PUSHED_MAX = 12;

export class Workload {
  readonly #deps: WorkloadDeps;
  readonly #plan: WorkloadPlan;
  readonly #waiting = new Map<number, Write>();
  #pushed: readonly Pushed[] = [];
  #writes = 0;
  #stopped = false;

  constructor(deps: WorkloadDeps, plan: WorkloadPlan) {
    this.#deps = deps;
    this.#plan = plan;
  }

  /** Writes whose clients still wait. */
  get waiting(): number {
    return this.#waiting.size;
  }

  start(): void {
    const { queue, prng } = this.#deps;
    queue.after(prng.skewed(this.#plan.everyMs * 1000), () => {
      if (this.#stopped) return;
      do this.#write();
      while (prng.chance(this.#plan.burst));
      this.start();
    });
  }

  stop(): void {
    this.#stopped = true;
  }

  /** The clients of a region that died: their writes may have happened or not. */
  lost(process: RegionProcess): void {
    for (const [id, write] of this.#waiting) {
      if (write.process !== process) continue;
      this.#waiting.delete(id);
      this.#deps.trace.mark('writes unknown');
    }
  }

  /** What a region answered. */
  answered(process: RegionProcess, outputs: readonly Output[]): void {
    for (const output of outputs) {
      if (output.output !== 'written' && output.output !== 'write-failed') continue;
      const write = this.#waiting.get(output.id);
      if (write === undefined || write.process !== process) {
        this.#deps.checker.threw(process, `it answered write ${output.id}, for which nobody waits`);
        return;
      }
      this.#waiting.delete(output.id);
      if (output.output === 'write-failed') {
        this.#deps.trace.mark('writes refused');
        continue;
      }
      this.#deps.trace.mark('acknowledged');
      const expected = write.changes.map(expectedOf);
      this.#deps.checker.acknowledged(process, output.dot, { expected, look: write.look });
    }
  }

  #write(): void {
    const { prng, processes, trace, queue } = this.#deps;
    const process = prng.pick(processes);
    const changes = this.#draw();
    if (process.life === 0) return;
    this.#writes += 1;
    const id = this.#writes;
    const write: Write = { process, changes, look: undefined };
    this.#waiting.set(id, write);
    trace.tell(
      queue.nowUs,
      () => `${process.region} is asked (write ${id}): ${changes.map(changeText).join(', ')}`,
    );
    const tags = changes.filter(({ change }) => change === 'set-tag' || change === 'delete-tag');
    if (tags.length > 0 && prng.chance(this.#plan.look)) {
      this.#deps.looks.begin(process, tags.map(keyOfChange), (look) => this.#leap(id, write, look));
    } else {
      process.feed({ input: 'write', id, changes, principal: `client-${id % 5}` });
    }
  }

  /** After the look, unless the region has died meanwhile. */
  #leap(id: number, write: Write, look: Look): void {
    if (this.#waiting.get(id) !== write) return;
    const { process, changes } = write;
    write.look = look;
    this.#deps.checker.looked(process, look);
    const seen = look.claims.map(({ bytes }) => bytes);
    process.feed({ input: 'write', id, changes, principal: `client-${id % 5}`, seen });
  }

  #draw(): readonly IndexChange[] {
    const { prng } = this.#deps;
    const { push, retag, deleteTag, deleteManifest, policy } = this.#plan;
    let ticket = prng.below(push + retag + deleteTag + deleteManifest + policy);
    const isDrawn = (weight: number) => {
      ticket -= weight;
      return ticket < 0;
    };
    const repository = prng.pick(REPOSITORIES);
    const tag = `v${prng.below(this.#plan.tags)}`;
    const known = this.#pushed.filter((pushed) => pushed.repository === repository);
    if (isDrawn(push) || known.length === 0) return this.#push(repository, tag);
    if (isDrawn(retag)) return [{ change: 'set-tag', repository, tag, digest: prng.pick(known).digest }];
    if (isDrawn(deleteTag)) return [{ change: 'delete-tag', repository, tag }];
    if (isDrawn(deleteManifest)) {
      return [{ change: 'delete-manifest', repository, digest: prng.pick(known).digest }];
    }
    const document = prng.chance(0.3) ? '' : `kind: ReplicationPolicy # ${prng.below(1000)}\n`;
    return [{ change: 'set-policy', name: prng.pick(POLICIES), document }];
  }

  #push(repository: RepositoryName, tag: string): readonly IndexChange[] {
    const bytes = manifestBytes(this.#deps.prng.below(10_000));
    const digest = digestOf(bytes);
    this.#pushed = [{ repository, digest }, ...this.#pushed].slice(0, PUSHED_MAX);
    const manifest = { digest, mediaType: MEDIA_TYPE.ociManifest, bytes };
    return [
      { change: 'add-manifest', repository, manifest },
      { change: 'set-tag', repository, tag, digest },
    ];
  }
}

/** The claim that a change must become. */
export function expectedOf(change: IndexChange): Expected {
  switch (change.change) {
    case 'set-tag':
    case 'delete-tag': {
      const key = { kind: CLAIM_KIND.tag, repository: change.repository, name: change.tag };
      const live = change.change === 'set-tag';
      return { key, live, value: live ? digestToBytes(change.digest) : undefined };
    }
    case 'add-manifest':
    case 'delete-manifest': {
      const live = change.change === 'add-manifest';
      const name = live ? change.manifest.digest : change.digest;
      const key = { kind: CLAIM_KIND.manifest, repository: change.repository, name };
      return { key, live, value: undefined };
    }
    case 'set-policy':
    case 'set-account':
    case 'set-key': {
      const key = keyOfChange(change);
      const live = change.document !== '';
      return { key, live, value: live ? new TextEncoder().encode(change.document) : undefined };
    }
  }
}

function changeText(change: IndexChange): string {
  const { key, live } = expectedOf(change);
  return `${live ? 'set' : 'delete'} ${key.repository} ${key.name.slice(0, 16)}`;
}

function manifestBytes(serial: number): Uint8Array {
  const config = {
    mediaType: 'application/vnd.oci.image.config.v1+json',
    digest: `sha256:${serial.toString(16).padStart(64, '0')}`,
    size: 2,
  };
  return new TextEncoder().encode(
    JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPE.ociManifest, config, layers: [] }),
  );
}
