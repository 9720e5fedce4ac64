/** The rooms of one region, as production code, over stores that take steps; and what can be broken in it on purpose. */
import { BlobUse } from '#content/blob-use.ts';
import type { ClaimWriter } from '#content/claim-writer.ts';
import { Closure } from '#content/closure.ts';
import { Deliverability } from '#content/deliverability.ts';
import { Fill } from '#content/fill.ts';
import { ManifestFetch } from '#content/manifest-fetch.ts';
import { ContentReader } from '#content/reader.ts';
import type { Sources } from '#content/upstream.ts';
import { ContentWriter } from '#content/writer.ts';
import { UnavailableError } from '#domain/errors.ts';
import { keyOfChange, planWrite } from '#mesh/claims/changes.ts';
import type { CollectionDeps } from '#node/lifecycle/collection.ts';
import type { Clock } from '#runtime/clock.ts';
import { silentLog } from '#runtime/log.ts';
import { Registry } from '#runtime/metrics.ts';
import type { Random } from '#runtime/random.ts';
import type { BlobFiles, BlobStore } from '#storage/blob-store.ts';
import type { ClaimKey, ClaimRows } from '#storage/metadata.ts';
import type { BlobUseRows, GarbageRows } from '#storage/metadata-garbage.ts';
import type { SteppingMetadata } from './stepping-store.ts';

/** What is broken on purpose, to see that the checks see it. */
export type Fault = 'none' | 'no-grace' | 'file-before-row' | 'uses-not-noted';

export type SimulatedRegion = {
  readonly reader: ContentReader;
  readonly writer: ContentWriter;
  readonly collection: CollectionDeps;
};

export type SimulatedRegionDeps = {
  readonly metadata: SteppingMetadata;
  readonly blobs: BlobStore & BlobFiles;
  readonly clock: Clock;
  readonly random: Random;
  readonly sources: Sources;
};

const REGION = 'eu-west';
const ATTEMPTS_MAX = 100;

/** Everything that a process has in its memory: after a crash, another one. */
export function startRegion(deps: SimulatedRegionDeps, fault: Fault): SimulatedRegion {
  const { metadata, blobs, clock, random } = deps;
  const { manifests, views, viewWrites } = metadata;
  const uses = fault === 'uses-not-noted' ? forgetful(metadata.blobUses) : metadata.blobUses;
  const seams = {
    ...{ blobs, rows: metadata.blobs, manifests, views, viewWrites, clock, random },
    ...{ log: silentLog, metrics: new Registry(), sources: deps.sources },
    use: new BlobUse({ rows: uses, clock }),
  };
  const fill = new Fill(seams, { region: REGION });
  const manifestFetch = new ManifestFetch(seams);
  const closure = new Closure({ ...seams, manifestFetch, fill });
  const deliverability = new Deliverability(seams);
  const oracle = { resolve: async () => ({ outcome: 'absent' as const }) };
  return {
    reader: new ContentReader({ ...seams, fill, manifestFetch, deliverability, oracle }, { region: REGION }),
    writer: new ContentWriter({
      ...{ ...seams, fill, closure, claimWriter: claimWriterOf(metadata.claims, clock) },
      writeGuard: { refuseWrite: () => undefined },
    }),
    collection: {
      rows: fault === 'file-before-row' ? hasty(metadata.garbage, blobs) : metadata.garbage,
      ...{
        uses,
        blobs,
        files: blobs,
        clock,
        log: silentLog,
        caches: { kept: () => [], onEvicted: () => undefined },
      },
    },
  };
}

/** The mesh of one region: what it decides is what the mesh decides. */
function claimWriterOf(claims: ClaimRows, clock: Clock): ClaimWriter {
  return {
    async write(changes, { principal }) {
      const keys = new Map<string, ClaimKey>(
        changes.map(keyOfChange).map((key) => [`${key.kind} ${key.repository} ${key.name}`, key]),
      );
      for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
        const stored = await claims.ofKeys([...keys.values()]);
        const origin = await claims.origin();
        const plan = planWrite({ changes, seen: [], principal, origin, nowMs: clock.nowMs() }, stored);
        if (plan.batch.own.length === 0) return { ...origin };
        const result = await claims.commit(plan.batch);
        if (result.outcome === 'committed') return { ...result.origin };
      }
      throw new UnavailableError('others were always faster');
    },
  };
}

function forgetful(uses: BlobUseRows): BlobUseRows {
  return { ...uses, touch: async (digest) => (await uses.usedMs(digest)) !== undefined };
}

function hasty(rows: GarbageRows, files: BlobFiles): GarbageRows {
  return {
    ...rows,
    async dropBlob(digest, limits) {
      const isWanted = async () => false;
      await files.removeOlder(digest, { committedBeforeMs: limits.usedBeforeMs, isWanted });
      return await rows.dropBlob(digest, limits);
    },
  };
}
