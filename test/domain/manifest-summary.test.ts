/** What a manifest's claim says of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { digestOf } from '#domain/digest.ts';
import { MEDIA_TYPE } from '#domain/manifest.ts';
import {
  decodeManifestSummary,
  encodeManifestSummary,
  type ManifestSummary,
  summarizeManifest,
} from '#domain/manifest-summary.ts';

const FULL: ManifestSummary = {
  sizeBytes: 539,
  mediaType: MEDIA_TYPE.ociManifest,
  subject: digestOf('subject', 'sha512'),
  artifactType: 'application/vnd.example',
};

test('manifest summary: everything but one whole summary is refused', () => {
  const bytes = encodeManifestSummary(FULL);
  for (let length = 0; length < bytes.length; length += 1) {
    assert.equal(decodeManifestSummary(bytes.subarray(0, length)), undefined, `${length} bytes`);
  }
  assert.equal(decodeManifestSummary(new Uint8Array([...bytes, 0])), undefined);
  assert.equal(decodeManifestSummary(new Uint8Array(bytes).fill(4, 4, 5)), undefined);
  assert.equal(decodeManifestSummary(new Uint8Array(bytes).fill(0xff, 6, 7)), undefined);
});

test('manifest summary: a subject that is no digest is refused', () => {
  const bytes = encodeManifestSummary({ sizeBytes: 1, mediaType: 'a/b', subject: digestOf('x') });
  const algorithmAt = 5 + 1 + 3 + 1;
  assert.equal(bytes[algorithmAt], 1);
  assert.equal(decodeManifestSummary(bytes.fill(9, algorithmAt, algorithmAt + 1)), undefined);
});

test('manifest summary: sizes and media types out of range cannot be encoded', () => {
  for (const sizeBytes of [-1, 1.5, 2 ** 32])
    assert.throws(() => encodeManifestSummary({ ...FULL, sizeBytes }), TypeError);
  assert.throws(() => encodeManifestSummary({ ...FULL, mediaType: 'x'.repeat(256) }), TypeError);
  assert.throws(() => encodeManifestSummary({ ...FULL, mediaType: '\ud800' }), TypeError);
});

test('manifest summary: its bytes are as documented', () => {
  const bytes = encodeManifestSummary({ sizeBytes: 258, mediaType: 'a/b', artifactType: 'c' });
  assert.deepEqual([...bytes], [0, 0, 1, 2, 2, 3, 97, 47, 98, 1, 99]);
});

test('manifest summary: encode and decode are each other’s inverse, and the bytes canonical', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 40 });
  const digest = fc
    .tuple(fc.string(), fc.constantFrom('sha256' as const, 'sha512' as const))
    .map(([seed, algorithm]) => digestOf(seed, algorithm));
  const summary = fc.record(
    { sizeBytes: fc.nat(2 ** 32 - 1), mediaType: text, subject: digest, artifactType: text },
    { requiredKeys: ['sizeBytes', 'mediaType'], noNullPrototype: true },
  );
  fc.assert(
    fc.property(summary, (value) => {
      const bytes = encodeManifestSummary(value);
      assert.deepEqual(decodeManifestSummary(bytes), value);
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
      const value = decodeManifestSummary(bytes);
      if (value !== undefined) assert.deepEqual(encodeManifestSummary(value), bytes);
    }),
  );
});

test('manifest summary: an artifact type that no claim has room for is left out', () => {
  const parsed = { mediaType: MEDIA_TYPE.ociIndex, isIndex: true, references: [], annotations: {} };
  const summary = summarizeManifest(7, { ...parsed, artifactType: 'x'.repeat(5000) });
  assert.deepEqual(summary, { sizeBytes: 7, mediaType: MEDIA_TYPE.ociIndex });
});
