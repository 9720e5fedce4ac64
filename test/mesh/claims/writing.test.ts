/** Writes: when they are acknowledged, what they cover, and what happens when the store refuses or is faster. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { digestOf } from '#domain/digest.ts';
import { HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import { decodeManifestSummary } from '#domain/manifest-summary.ts';
import { parseRegionNumber } from '#domain/region.ts';
import { decodeClaim } from '#mesh/claims/claim-codec.ts';
import { ClaimsCore } from '#mesh/claims/claims-core.ts';
import { DEFAULT_CLAIMS_CONFIG } from '#mesh/claims/core-state.ts';
import type { Output } from '#mesh/claims/step.ts';
import { ClaimRowsMemory } from './claim-rows-memory.ts';
import { deleteTag, digestNamed, epochOf, REPOSITORY, setTag, TinyMesh, tagKey } from './tiny-mesh.ts';

const MANIFEST_BYTES = new TextEncoder().encode(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: MEDIA_TYPE.ociManifest,
    config: { mediaType: 'application/vnd.example', digest: digestOf('config'), size: 6 },
    layers: [],
    subject: { mediaType: MEDIA_TYPE.ociManifest, digest: digestOf('subject'), size: 7 },
  }),
);

/** A core alone with its store, stepped by hand. */
function aloneCore(config = DEFAULT_CLAIMS_CONFIG) {
  const self = parseRegionNumber(1);
  const rows = new ClaimRowsMemory({ region: self, epoch: epochOf(1), sequence: 0, time: HYBRID_TIME_ZERO });
  const core = new ClaimsCore({ self, peers: [], origin: rows.origin, cursors: [] }, config);
  const write = (id: number, ...changes: Parameters<typeof setTag>[]) =>
    core.step(
      { input: 'write', id, changes: changes.map((change) => setTag(...change)), principal: 'alice' },
      1000,
    );
  return { rows, core, write };
}

function only<Kind extends Output['output']>(
  outputs: readonly Output[],
  kind: Kind,
): Extract<Output, { output: Kind }> {
  const found = outputs.find((output): output is Extract<Output, { output: Kind }> => output.output === kind);
  assert.ok(found !== undefined, `no ${kind} among ${outputs.map(({ output }) => output)}`);
  return found;
}

test('write: a refusal of the store fails it, and nothing is shown', () => {
  for (const output of ['read-keys', 'commit'] as const) {
    const mesh = new TinyMesh(1);
    const region = mesh.region(1);
    region.refuse = { output, reason: 'the disk is full' };
    assert.equal(region.tryWrite(setTag('a', 'one')), 'the disk is full');
    region.refuse = undefined;
    assert.equal(region.view('a'), undefined);
    assert.deepEqual(region.write(setTag('a', 'two')), { region: 1, epoch: epochOf(1), sequence: 1 });
  }
});

test('write: a claim over its limit is refused, and one within it is not', () => {
  const region = new TinyMesh(1).region(1);
  const policy = (document: string) => ({ change: 'set-policy', name: 'p', document }) as const;
  assert.match(String(region.tryWrite(policy('x'.repeat(65_536)))), /65\d+ bytes are more than the 65536/);
  assert.equal(region.write(policy('x'.repeat(65_000))).sequence, 1);
  assert.match(String(region.tryWrite({ ...policy('x'), name: 'y\n' })), /control character/);
});

test('write: what is not a manifest is refused', () => {
  const region = new TinyMesh(1).region(1);
  const bytes = new TextEncoder().encode('{}');
  const manifest = { digest: digestOf(bytes), mediaType: MEDIA_TYPE.ociManifest, bytes };
  assert.match(
    String(region.tryWrite({ change: 'add-manifest', repository: REPOSITORY, manifest })),
    /schemaVersion/,
  );
});

test('write: one more than may wait is refused at once', () => {
  const { write } = aloneCore({ ...DEFAULT_CLAIMS_CONFIG, writesMax: 1 });
  only(write(1, ['a', 'one']), 'read-keys');
  assert.match(only(write(2, ['b', 'two']), 'write-failed').reason, /1 writes are waiting/);
});

test('write: it is acknowledged after the commit, never before', () => {
  const { core, rows, write } = aloneCore();
  const read = only(write(1, ['a', 'one']), 'read-keys');
  const committing = core.step({ input: 'keys-read', id: read.id, keys: rows.ofKeys(read.keys) }, 1000);
  assert.deepEqual(
    committing.map(({ output }) => output),
    ['commit'],
  );
  const { id, batch } = only(committing, 'commit');
  const written = only(core.step({ input: 'committed', id, result: rows.commit(batch) }, 1000), 'written');
  assert.deepEqual(written, { output: 'written', id: 1, dot: { region: 1, epoch: epochOf(1), sequence: 1 } });
});

test('write: a decision made on a stale read is made again', () => {
  const { core, rows, write } = aloneCore();
  const read = only(write(1, ['a', 'mine']), 'read-keys');
  const stale = rows.ofKeys(read.keys);
  // Another process of the region sets the tag in between.
  const other = new ClaimsCore(
    { self: parseRegionNumber(1), peers: [], origin: rows.origin, cursors: [] },
    DEFAULT_CLAIMS_CONFIG,
  );
  const theirs = only(
    other.step({ input: 'write', id: 1, changes: [setTag('a', 'theirs')], principal: 'bob' }, 999),
    'read-keys',
  );
  const theirCommit = other.step({ input: 'keys-read', id: theirs.id, keys: rows.ofKeys(theirs.keys) }, 999);
  assert.equal(rows.commit(only(theirCommit, 'commit').batch).outcome, 'committed');

  const first = only(core.step({ input: 'keys-read', id: read.id, keys: stale }, 1000), 'commit');
  const refused = rows.commit(first.batch);
  assert.deepEqual(refused, { outcome: 'conflict' });
  const again = only(core.step({ input: 'committed', id: first.id, result: refused }, 1000), 'read-keys');
  const second = core.step({ input: 'keys-read', id: again.id, keys: rows.ofKeys(again.keys) }, 1000);
  const { id, batch } = only(second, 'commit');
  const written = only(core.step({ input: 'committed', id, result: rows.commit(batch) }, 1000), 'written');
  assert.equal(written.dot.sequence, 2);
  const [stored] = rows.ofKeys([tagKey('a')]);
  assert.deepEqual(
    stored?.claims.map((bytes) => decodeClaim(bytes).context),
    [[{ region: 1, epoch: epochOf(1), sequence: 1 }]],
  );
});

test('write: a key that others always win is given up, with a reason', () => {
  const { core, rows, write } = aloneCore();
  let outputs = write(1, ['a', 'mine']);
  let rounds = 0;
  for (; outputs.some(({ output }) => output === 'read-keys'); rounds += 1) {
    const read = only(outputs, 'read-keys');
    const { id } = only(
      core.step({ input: 'keys-read', id: read.id, keys: rows.ofKeys(read.keys) }, 1000),
      'commit',
    );
    outputs = core.step({ input: 'committed', id, result: { outcome: 'conflict' } }, 1000);
    assert.ok(rounds < 1000, 'it never ends');
  }
  assert.match(only(outputs, 'write-failed').reason, /always faster/);
});

test('write: writes of one key run one after another, others side by side', () => {
  const { core, rows, write } = aloneCore();
  const first = only(write(1, ['a', 'one']), 'read-keys');
  assert.deepEqual(write(2, ['a', 'two']), []);
  assert.deepEqual(write(3, ['b', 'three'], ['a', 'three']), []);
  only(write(4, ['c', 'four']), 'read-keys');
  const { id, batch } = only(
    core.step({ input: 'keys-read', id: first.id, keys: rows.ofKeys(first.keys) }, 1000),
    'commit',
  );
  const next = core.step({ input: 'committed', id, result: rows.commit(batch) }, 1000);
  assert.deepEqual(only(next, 'read-keys').keys, [tagKey('a')]);
  assert.equal(next.filter(({ output }) => output === 'read-keys').length, 1);
});

test('write: several changes are one commit, in order', () => {
  const region = new TinyMesh(1).region(1);
  const manifest = {
    digest: digestOf(MANIFEST_BYTES),
    mediaType: MEDIA_TYPE.ociManifest,
    bytes: MANIFEST_BYTES,
  };
  const dot = region.write({ change: 'add-manifest', repository: REPOSITORY, manifest }, setTag('a', 'one'));
  assert.equal(dot.sequence, 2);
  const view = region.rows.view({ kind: CLAIM_KIND.manifest, repository: REPOSITORY, name: manifest.digest });
  assert.equal(view?.dot.sequence, 1);
  assert.deepEqual(decodeManifestSummary(view?.value ?? new Uint8Array(0)), {
    sizeBytes: MANIFEST_BYTES.length,
    mediaType: MEDIA_TYPE.ociManifest,
    subject: digestOf('subject'),
    artifactType: 'application/vnd.example',
  });
  assert.deepEqual(region.changed.length, 2);
});

test('write: several changes of one key end as the last of them', () => {
  const region = new TinyMesh(1).region(1);
  assert.equal(region.write(setTag('a', 'one'), deleteTag('a'), setTag('a', 'two')).sequence, 3);
  assert.equal(region.digest('a'), digestNamed('two'));
  assert.equal(region.write(setTag('a', 'three'), deleteTag('a')).sequence, 5);
  assert.equal(region.digest('a'), undefined);
});

test('write: deleting what is not live succeeds and makes no claim', () => {
  const region = new TinyMesh(1).region(1);
  assert.deepEqual(region.write(deleteTag('never')), { region: 1, epoch: epochOf(1), sequence: 0 });
  region.write(setTag('a', 'one'));
  const deleted = region.write(deleteTag('a'));
  region.write(setTag('b', 'two'));
  assert.deepEqual(region.write(deleteTag('a')), deleted);
  assert.deepEqual(region.write(deleteTag('never')), { region: 1, epoch: epochOf(1), sequence: 3 });
  assert.equal(region.rows.origin.sequence, 3);
});

test('write: an empty document deletes a policy', () => {
  const region = new TinyMesh(1).region(1);
  const key = { kind: CLAIM_KIND.policy, repository: '', name: 'p' };
  region.write({ change: 'set-policy', name: 'p', document: 'kind: X' });
  assert.equal(new TextDecoder().decode(region.rows.view(key)?.value), 'kind: X');
  region.write({ change: 'set-policy', name: 'p', document: '' });
  assert.equal(region.rows.view(key)?.live, false);
});

test('write: an answer of the store that nobody asked for is an error of ours', () => {
  const { core } = aloneCore();
  assert.throws(() => core.step({ input: 'failed', id: 7, reason: 'x' }, 1000), /which nobody asked/);
});
