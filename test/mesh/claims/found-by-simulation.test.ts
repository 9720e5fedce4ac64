/**
 * Faults of the claims' step that the simulation found, each reduced to the few inputs that show it. The seeds that
 * walk the same paths are in `test/chaos/simulation.test.ts`.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { HYBRID_TIME_ZERO } from '#domain/hybrid-time.ts';
import { mintEpoch, parseRegionNumber } from '#domain/region.ts';
import { encodeClaim } from '#mesh/claims/claim-codec.ts';
import { ClaimsCore } from '#mesh/claims/claims-core.ts';
import { DEFAULT_CLAIMS_CONFIG } from '#mesh/claims/core-state.ts';
import type { DeltaMessage, Message } from '#mesh/claims/message.ts';
import type { Input, Output } from '#mesh/claims/step.ts';
import type { StoredClaim } from '#storage/metadata.ts';

const [one, two, three] = [parseRegionNumber(1), parseRegionNumber(2), parseRegionNumber(3)];
const epoch = mintEpoch(1_000, 7);
const START_MS = 1_000_000;

/** A tag claim of region 2; tags of one name replace each other. */
function tag(sequence: number, name = `v${sequence}`): StoredClaim {
  const bytes = encodeClaim({
    kind: CLAIM_KIND.tag,
    state: 'live',
    dot: { region: two, epoch, sequence },
    time: { ms: START_MS, counter: sequence },
    context: [],
    repository: 'library/app',
    name,
    value: Uint8Array.of(sequence),
    principal: 'anyone',
  });
  return { sequence, bytes };
}

type Bounds = Pick<DeltaMessage, 'from' | 'to' | 'head'>;

function delta(bounds: Bounds, claims: readonly StoredClaim[]): DeltaMessage {
  return { type: 'delta', region: two, epoch, ...bounds, exact: bounds.to === bounds.head, claims };
}

const summary = (have: number): Message => ({
  type: 'summary',
  heads: [{ region: two, epoch, have, safe: have }],
});

/** Region 1, which holds region 2 as its cursor says; the test is its store and its peers. */
function open(cursor: { readonly have: number; readonly safe: number }) {
  const core = new ClaimsCore(
    {
      self: one,
      peers: [two, three],
      origin: { region: one, epoch, sequence: 0, time: HYBRID_TIME_ZERO },
      cursors: cursor.have === 0 ? [] : [{ region: two, epoch, ...cursor }],
    },
    DEFAULT_CLAIMS_CONFIG,
  );
  let nowMs = START_MS;
  const step = (input: Input) => core.step(input, nowMs);
  const receive = (from: typeof one, message: Message) => step({ input: 'received', from, message });
  /** Answers the reads of keys in `outputs` with "nothing is stored". */
  const readNothing = (outputs: readonly Output[]) =>
    outputs.flatMap((output) => {
      if (output.output !== 'read-keys') return [];
      const keys = output.keys.map((key) => ({ key, revision: 0, claims: [] }));
      return step({ input: 'keys-read', id: output.id, keys });
    });
  const commitOf = (outputs: readonly Output[]) => {
    const commit = outputs.find((output) => output.output === 'commit');
    assert.ok(commit !== undefined, 'nothing was committed');
    return commit;
  };
  const committed = (id: number) => {
    const origin = { region: one, epoch, sequence: 0, time: HYBRID_TIME_ZERO };
    return step({ input: 'committed', id, result: { outcome: 'committed', firstSequence: 1, origin } });
  };
  const later = (ms: number) => {
    nowMs += ms;
    return step({ input: 'tick' });
  };
  return { step, receive, readNothing, commitOf, committed, later };
}

test('claims: a repeated delta does not bring back what a newer one behind it replaced', () => {
  const { receive, readNothing, commitOf, committed } = open({ have: 0, safe: 0 });
  const first = receive(two, delta({ from: 0, to: 1, head: 1 }, [tag(1)]));
  // These three wait for the first, and are then applied in one commit.
  receive(two, delta({ from: 1, to: 2, head: 2 }, [tag(2, 'moving')]));
  receive(two, delta({ from: 2, to: 3, head: 3 }, [tag(3, 'moving')]));
  receive(three, delta({ from: 1, to: 2, head: 2 }, [tag(2, 'moving')]));
  const joined = commitOf(readNothing(committed(commitOf(readNothing(first)).id)));
  assert.deepEqual(
    joined.batch.foreign.map((claim) => claim.dot.sequence),
    [3],
  );
  assert.deepEqual(joined.batch.cursors, [{ region: two, epoch, have: 3, safe: 3 }]);
});

test('claims: a lost word of exactness is asked for, though no claim is missing', () => {
  const { step, receive, later } = open({ have: 3, safe: 1 });
  step({ input: 'link-up', peer: two });
  receive(two, summary(3));
  const asked = Array.from({ length: 30 }, () => later(100))
    .flat()
    .filter((output) => output.output === 'send' && output.to === two && output.message.type === 'follow');
  assert.ok(asked.length >= 1, 'nobody was asked');
});

test('claims: after a restart, an exact word that is older than a cut delta is not believed', () => {
  const { receive, readNothing, commitOf, committed } = open({ have: 3, safe: 1 });
  // Cut behind 4; what it left out may have been replaced by anything up to 9.
  const cut = commitOf(readNothing(receive(two, delta({ from: 3, to: 4, head: 9 }, [tag(4)]))));
  assert.deepEqual(cut.batch.cursors, [{ region: two, epoch, have: 4, safe: 1 }]);
  const after = [...committed(cut.id), ...receive(two, delta({ from: 4, to: 4, head: 4 }, []))];
  const risen = after.filter(
    (output) => output.output === 'commit' && output.batch.cursors.some((cursor) => cursor.safe > 1),
  );
  assert.deepEqual(risen, []);
});

test('claims: what was heard while a commit was under way does not take back what it made exact', () => {
  const { receive, readNothing, commitOf, committed } = open({ have: 3, safe: 1 });
  const exact = commitOf(readNothing(receive(two, delta({ from: 3, to: 4, head: 4 }, [tag(4)]))));
  assert.deepEqual(exact.batch.cursors, [{ region: two, epoch, have: 4, safe: 4 }]);
  receive(two, summary(9));
  committed(exact.id);
  const next = commitOf(readNothing(receive(two, delta({ from: 4, to: 5, head: 9 }, [tag(5)]))));
  assert.deepEqual(next.batch.cursors, [{ region: two, epoch, have: 5, safe: 4 }]);
});
