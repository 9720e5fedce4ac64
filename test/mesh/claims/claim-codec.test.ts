/** The canonical bytes of claims: the published vectors, laws, and everything that is no claim. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { stampClaim } from '#domain/claim-layout.ts';
import type { Dot } from '#domain/dot.ts';
import { parseEpoch, parseRegionNumber } from '#domain/region.ts';
import {
  CLAIM_BYTES_MAX,
  type Claim,
  ClaimFormatError,
  decodeClaim,
  encodeClaim,
  POLICY_CLAIM_BYTES_MAX,
} from '#mesh/claims/claim-codec.ts';

type DotFields = { readonly region: number; readonly epoch: string; readonly sequence: number };
type Vector = {
  readonly about: string;
  readonly hex: string;
  readonly fields: DotFields & {
    readonly kind: number;
    readonly state: 'live' | 'deleted';
    readonly timeMs: number;
    readonly counter: number;
    readonly flags: number;
    readonly context: readonly DotFields[];
    readonly repository: string;
    readonly claimName: string;
    readonly valueHex: string;
    readonly principal: string;
    readonly extensionHex: string;
  };
};

const VECTORS = JSON.parse(
  readFileSync(join(import.meta.dirname, 'vectors.json'), 'utf8'),
) as readonly Vector[];

function dotOf({ region, epoch, sequence }: DotFields): Dot {
  return { region: parseRegionNumber(region), epoch: parseEpoch(epoch), sequence };
}

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'));
}

function claimOf({ fields }: Vector): Claim {
  const { kind, state, repository, principal, flags } = fields;
  return {
    kind,
    state,
    dot: dotOf(fields),
    time: { ms: fields.timeMs, counter: fields.counter },
    context: fields.context.map(dotOf),
    repository,
    name: fields.claimName,
    value: bytesOf(fields.valueHex),
    principal,
    ...(flags === 0 ? {} : { flags, extension: bytesOf(fields.extensionHex) }),
  };
}

const SAMPLE: Claim = {
  kind: CLAIM_KIND.tag,
  state: 'live',
  dot: dotOf({ region: 2, epoch: '019a8f3c2b1d4e60', sequence: 8 }),
  time: { ms: 1_763_712_000_123, counter: 7 },
  context: [
    dotOf({ region: 1, epoch: '019a8f3c2b1d4e5f', sequence: 3 }),
    dotOf({ region: 2, epoch: '019a8f3c2b1d4e60', sequence: 7 }),
  ],
  repository: 'team/app',
  name: 'v1',
  value: new Uint8Array([1, 2, 3]),
  principal: 'alice',
};
/** Where the fields of SAMPLE stand. */
const AT = { state: 2, flags: 3, region: 4, sequence: 14, contextCount: 30, context: 32, repository: 68 };

function edited(edit: (bytes: Uint8Array, view: DataView) => void): Uint8Array {
  const bytes = encodeClaim(SAMPLE);
  edit(bytes, new DataView(bytes.buffer));
  return bytes;
}

const MALFORMED: readonly (readonly [what: string, bytes: Uint8Array, reason: RegExp])[] = [
  ['nothing', new Uint8Array(0), /too few/],
  ['another version', edited((bytes) => bytes.fill(2, 0, 1)), /version 2/],
  ['an unknown state', edited((bytes) => bytes.fill(3, AT.state, AT.state + 1)), /state 3/],
  ['region 0', edited((_, view) => view.setUint16(AT.region, 0)), /region 0/],
  ['a sequence number above 2^53', edited((_, view) => view.setUint32(AT.sequence, 0x200000)), /2\^53/],
  ['a trailing byte', new Uint8Array([...encodeClaim(SAMPLE), 0]), /1 bytes follow/],
  ['a context of region 0', edited((_, view) => view.setUint16(AT.context, 0)), /names no claim/],
  ['a context of sequence 0', edited((_, view) => view.setUint32(AT.context + 14, 0)), /names no claim/],
  ['an unsorted context', edited((_, view) => view.setUint16(AT.context, 3)), /sorted/],
  [
    'a repeated context',
    edited((bytes) => bytes.copyWithin(AT.context, AT.context + 18, AT.context + 36)),
    /sorted/,
  ],
  [
    'a context that covers the claim itself',
    edited((_, view) => view.setUint32(AT.context + 32, 8)),
    /later claim/,
  ],
  [
    'a context longer than the claim',
    edited((_, view) => view.setUint16(AT.contextCount, 999)),
    /middle of a field/,
  ],
  [
    'a text that is not UTF-8',
    edited((bytes) => bytes.fill(0xff, AT.repository + 2, AT.repository + 3)),
    /not UTF-8/,
  ],
  ['an overlong encoding', edited((bytes) => bytes.set([0xc0, 0xaf], AT.repository + 2)), /not UTF-8/],
  [
    'a line break in a name',
    edited((bytes) => bytes.fill(10, AT.repository + 2, AT.repository + 3)),
    /control character/,
  ],
  ['a claim over 8 KiB', new Uint8Array(CLAIM_BYTES_MAX + 1).fill(1, 0, 3), /more than the 8192/],
];

for (const [what, bytes, reason] of MALFORMED) {
  test(`claim codec: ${what} is refused`, () => {
    assert.throws(
      () => decodeClaim(bytes),
      (thrown) => thrown instanceof ClaimFormatError && reason.test(thrown.message),
    );
  });
}

test('claim codec: every prefix of a claim is refused', () => {
  const bytes = encodeClaim(SAMPLE);
  for (let length = 0; length < bytes.length; length += 1) {
    assert.throws(() => decodeClaim(bytes.subarray(0, length)), ClaimFormatError);
  }
});

const UNENCODABLE: readonly (readonly [what: string, changes: Partial<Claim>, reason: RegExp])[] = [
  ['a value that makes it too large', { value: new Uint8Array(CLAIM_BYTES_MAX) }, /8192/],
  ['half of a surrogate pair', { principal: '\ud800' }, /well-formed/],
  ['a zero in a name', { name: 'a\0b' }, /control character/],
  ['a text over 64 KiB', { principal: 'x'.repeat(65_536) }, /longer than 65535/],
  ['an extension without a flag', { extension: new Uint8Array([1]) }, /needs a flag/],
  ['an unsorted context', { context: SAMPLE.context.toReversed() }, /sorted/],
  ['a kind that is no byte', { kind: 256 }, /one byte/],
  ['a time beyond 48 bits', { time: { ms: 2 ** 48, counter: 0 } }, /48 bits/],
  ['a counter beyond 16 bits', { time: { ms: 1, counter: 65_536 } }, /16 bits/],
  ['a sequence number beyond 2^53', { dot: { ...SAMPLE.dot, sequence: 2 ** 53 } }, /sequence number/],
];

for (const [what, changes, reason] of UNENCODABLE) {
  test(`claim codec: ${what} cannot be encoded`, () => {
    assert.throws(
      () => encodeClaim({ ...SAMPLE, ...changes }),
      (thrown) => thrown instanceof ClaimFormatError && reason.test(thrown.message),
    );
  });
}

test('claim codec: a policy may have 64 KiB, and not a byte more', () => {
  const policy = { ...SAMPLE, kind: CLAIM_KIND.policy, value: new Uint8Array(0) };
  const room = POLICY_CLAIM_BYTES_MAX - encodeClaim(policy).length;
  assert.equal(decodeClaim(encodeClaim({ ...policy, value: new Uint8Array(room) })).value.length, room);
  assert.throws(() => encodeClaim({ ...policy, value: new Uint8Array(room + 1) }), /65537 bytes/);
});

test('claim codec: there are vectors for drafts, deletes, contexts, policies, unknown kinds and flags', () => {
  assert.ok(VECTORS.length >= 6);
  assert.equal(new Set(VECTORS.map(({ hex }) => hex)).size, VECTORS.length);
});

for (const vector of VECTORS) {
  test(`claim codec: vector "${vector.about}"`, () => {
    assert.equal(Buffer.from(encodeClaim(claimOf(vector))).toString('hex'), vector.hex);
    assert.deepEqual(decodeClaim(bytesOf(vector.hex)), claimOf(vector));
  });
}

test('claim codec: what the store stamps is read back', () => {
  const draft = encodeClaim({ ...SAMPLE, dot: { ...SAMPLE.dot, sequence: 0 }, time: { ms: 0, counter: 0 } });
  assert.deepEqual(decodeClaim(stampClaim(draft, SAMPLE.dot.sequence, SAMPLE.time)), SAMPLE);
});

test('claim codec: a claim read from a pool of bytes shares nothing with it', () => {
  const pool = Buffer.concat([Buffer.alloc(5, 0xee), encodeClaim(SAMPLE), Buffer.alloc(5, 0xee)]);
  const claim = decodeClaim(pool.subarray(5, -5));
  pool.fill(0);
  assert.deepEqual(claim, SAMPLE);
});

test('claim codec: encode and decode are each other’s inverse', () => {
  fc.assert(
    fc.property(anyClaim(), (claim) => {
      assert.deepEqual(decodeClaim(encodeClaim(claim)), claim);
    }),
  );
});

test('claim codec: bytes that decode at all are the one encoding of what they say', () => {
  const bytes = encodeClaim(SAMPLE);
  let accepted = 0;
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.nat(255), (position, value) => {
      const changed = new Uint8Array(bytes).fill(value, position, position + 1);
      try {
        const claim = decodeClaim(changed);
        accepted += 1;
        assert.deepEqual(encodeClaim(claim), changed);
      } catch (thrown) {
        assert.ok(thrown instanceof ClaimFormatError, String(thrown));
      }
    }),
    { numRuns: 2000 },
  );
  assert.ok(accepted > 100, `only ${accepted} were accepted`);
});

/** Objects as the codec makes them, so that they can be compared. */
const PLAIN = { noNullPrototype: true } as const;

function anyClaim(): fc.Arbitrary<Claim> {
  const epoch = fc
    .bigInt({ min: 0n, max: 2n ** 64n - 1n })
    .map((value) => parseEpoch(value.toString(16).padStart(16, '0')));
  const region = fc.integer({ min: 1, max: 0xffff }).map(parseRegionNumber);
  const sequence = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
  const dot = fc.record({ region, epoch, sequence }, PLAIN);
  const context = fc
    .uniqueArray(dot, { selector: (entry) => `${entry.region}.${entry.epoch}`, maxLength: 8 })
    .map((entries) => entries.sort((a, b) => a.region - b.region || (a.epoch < b.epoch ? -1 : 1)));
  const text = fc.string({ unit: 'grapheme', maxLength: 60 });
  const keyPart = text.filter((part) => !/\p{Cc}/u.test(part));
  const known = fc.record(
    {
      kind: fc.integer({ min: 0, max: 255 }),
      state: fc.constantFrom('live' as const, 'deleted' as const),
      dot,
      time: fc.record({ ms: fc.integer({ min: 0, max: 2 ** 48 - 1 }), counter: fc.nat(0xffff) }, PLAIN),
      context,
      repository: keyPart,
      name: keyPart,
      value: fc.uint8Array({ maxLength: 100 }),
      principal: text,
    },
    PLAIN,
  );
  const flags = fc.integer({ min: 1, max: 255 });
  const flagged = fc.record({ flags, extension: fc.uint8Array({ maxLength: 20 }) }, PLAIN);
  return fc
    .tuple(known, fc.option(flagged, { nil: {} }))
    .map(([claim, more]) => ({ ...claim, ...more }))
    .filter(({ context: seen, dot: own }) =>
      seen.every((entry) => entry.region !== own.region || entry.epoch !== own.epoch),
    );
}
