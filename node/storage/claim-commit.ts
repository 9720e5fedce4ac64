/**
 * The commit of a batch of claims: one list of statements that holds as a whole or not at all.
 *
 * Every key's row is written under the revision that the decision was made on; a statement that finds another one
 * changes nothing, and that undoes the batch. Own claims get their sequence and time inside the transaction: the
 * one row of `origin` advances, then the claim is stamped from it, then the views that it wins are written with the
 * same dot. So sequence numbers are dense and in the order of commits, and a view never names a claim that is not
 * there.
 */
import assert from 'node:assert/strict';
import { RegistryError } from '#domain/errors.ts';
import type { Epoch, RegionNumber } from '#domain/region.ts';
import type { Log } from '#runtime/log.ts';
import { type ClaimStatements, prepareClaimStatements, prepareEpochStatements } from './claim-statements.ts';
import type { ManifestStatements } from './manifest-statements.ts';
import type { ClaimBatch, ClaimKey, ClaimRows, OriginRow, ViewWrite } from './metadata.ts';
import { guard, run, type Store, type WriteStatement } from './statement.ts';
import type { OriginTable } from './tables.ts';

export function openClaimCommit(
  store: Store,
  manifestStatements: ManifestStatements,
  deps: { readonly log: Log; readonly written: (keys: readonly ClaimKey[]) => void },
): ClaimRows['commit'] {
  const statements = prepareClaimStatements(store.db);
  return async (batch) => {
    const write = [
      ...claimStatements(batch, statements),
      ...bodies(batch, manifestStatements, deps.log),
      { ...statements.origin.bind({}), role: 'answer' as const },
    ];
    // Also after a failure: whether a writer that died had committed is not known.
    const result = await store.writer.write(write).finally(() => deps.written(batch.views));
    if (result.outcome === 'refused') return { outcome: 'conflict' };
    const row = result.answers[0]?.[0] as OriginTable | undefined;
    assert.ok(row !== undefined, 'the metadata database has no origin');
    return {
      outcome: 'committed',
      firstSequence: row.sequence - batch.own.length + 1,
      origin: originRow(row),
    };
  };
}

export function openBeginEpoch(store: Store): ClaimRows['beginEpoch'] {
  const statements = prepareEpochStatements(store.db);
  return async (change) => {
    const result = await store.writer.write([
      run(statements.close.bind(change)),
      run(statements.begin.bind(change)),
      { ...statements.origin.bind({}), role: 'answer' },
    ]);
    const row = result.outcome === 'committed' ? (result.answers[0]?.[0] as OriginTable) : undefined;
    assert.ok(row !== undefined, 'the metadata database has no origin');
    return originRow(row);
  };
}

export function originRow(row: OriginTable): OriginRow {
  return {
    region: row.region as RegionNumber,
    epoch: row.epoch as Epoch,
    sequence: row.sequence,
    time: { ms: row.time_ms, counter: row.time_counter },
  };
}

function claimStatements(batch: ClaimBatch, statements: ClaimStatements): readonly WriteStatement[] {
  const revisions = new Map(batch.guards.map(({ key, revision }) => [keyText(key), revision]));
  assert.equal(revisions.size, batch.guards.length, 'a key is guarded twice');
  const viewed = new Set(batch.views.map(keyText));
  assert.equal(viewed.size, batch.views.length, 'a key has two views');
  const view = (write: ViewWrite) => viewStatement(write, revisions.get(keyText(write)), statements);
  const wonBy = (own: number) =>
    batch.views.filter((write) => 'own' in write.winner && write.winner.own === own);
  return [
    run(statements.observe.bind({ ms: batch.observed.ms, counter: batch.observed.counter })),
    ...batch.guards
      .filter(({ key }) => !viewed.has(keyText(key)))
      .map(({ key, revision }) =>
        guard(revision === 0 ? statements.touchNew.bind(key) : statements.touch.bind({ ...key, revision })),
      ),
    ...batch.own.flatMap(({ key, bytes }, own) => [
      run(statements.advance.bind({ nowMs: batch.nowMs })),
      run(statements.insertOwn.bind({ ...key, bytes })),
      ...wonBy(own).map(view),
    ]),
    ...batch.foreign.map(({ key, dot, bytes }) =>
      run(statements.insertForeign.bind({ ...key, ...dot, bytes })),
    ),
    ...batch.views.filter((write) => !('own' in write.winner)).map(view),
    ...batch.cursors.map((cursor) => run(statements.putCursor.bind(cursor))),
  ];
}

/** No part of a key holds a line break: names come from requests that were parsed. */
function keyText(key: ClaimKey): string {
  return `${key.kind}\n${key.repository}\n${key.name}`;
}

function viewStatement(
  write: ViewWrite,
  revision: number | undefined,
  statements: ClaimStatements,
): WriteStatement {
  assert.ok(revision !== undefined, `the view of ${write.name} is written without a guard`);
  const { winner } = write;
  const own = 'own' in winner;
  const args = {
    kind: write.kind,
    repository: write.repository,
    name: write.name,
    live: write.live ? 1 : 0,
    value: write.value,
    region: own ? null : winner.dot.region,
    epoch: own ? null : winner.dot.epoch,
    sequence: own ? null : winner.dot.sequence,
    changedMs: own ? null : winner.changedMs,
    principal: write.principal,
    conflict: write.conflict ? 1 : 0,
  };
  return guard(
    revision === 0 ? statements.insertView.bind(args) : statements.updateView.bind({ ...args, revision }),
  );
}

/**
 * A manifest of ours that cannot be stored refuses the push. One that came with others' claims is left out, because
 * a body that a peer damaged must not keep that peer's claims from ever arriving: it is then fetched when wanted.
 */
function bodies(
  batch: ClaimBatch,
  manifestStatements: ManifestStatements,
  log: Log,
): readonly WriteStatement[] {
  return batch.manifests.flatMap((manifest) => {
    try {
      return manifestStatements(manifest.repository, manifest);
    } catch (thrown) {
      if (batch.own.length > 0 || !(thrown instanceof RegistryError)) throw thrown;
      const { repository, digest } = manifest;
      log.warn('manifest that came with claims was refused', { repository, digest, err: thrown });
      return [];
    }
  });
}
