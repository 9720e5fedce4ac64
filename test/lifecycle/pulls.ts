/**
 * Clients that pull beside everything else, and a source elsewhere that one repository may be filled from. A pull of
 * what is shown succeeds unless somebody deletes meanwhile; a pull through the mirror succeeds unless it takes days.
 */
import assert from 'node:assert/strict';
import type { Prng } from '#chaos/prng.ts';
import type { ContentReader } from '#content/reader.ts';
import type { Sources, Upstream } from '#content/upstream.ts';
import { type Digest, digestOf } from '#domain/digest.ts';
import { messageOf, RegistryError, UnavailableError } from '#domain/errors.ts';
import { parseManifest } from '#domain/manifest.ts';
import { parseRepositoryName, type Reference, type RepositoryName } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import { image } from '#test/suites/manifest-samples.ts';

const NEVER = new AbortController().signal;

/** Has a source elsewhere; nobody pushes to it. */
export const MIRROR = parseRepositoryName('mirror/app');

/** The last two are pushed as well, and are referred to by nothing in the mirror. */
const CONTENTS = ['config', 'mirrored', 'blob 3', 'blob 4'].map((text) => new TextEncoder().encode(text));
const [CONFIG, LAYER, ...LONE] = CONTENTS.map((bytes) => digestOf(bytes)) as [Digest, Digest, ...Digest[]];
const MIRRORED = image({ layers: [{ digest: LAYER, size: 8 }] });

/** Where `MIRROR` is filled from: each answer and each half of a blob is a step. */
export function mirrorOf(step: () => Promise<void>): Sources {
  const upstream: Upstream = {
    name: 'elsewhere',
    kind: 'region',
    async openBlob({ digest, offset }) {
      await step();
      const bytes = CONTENTS.find((known) => digestOf(known) === digest);
      return bytes && { sizeBytes: bytes.byteLength, body: halves(bytes.subarray(offset), step) };
    },
    async fetchManifest({ reference }) {
      await step();
      return 'digest' in reference && reference.digest === MIRRORED.digest ? MIRRORED : undefined;
    },
  };
  return { of: async (repository) => (repository === MIRROR ? [upstream] : []) };
}

async function* halves(
  bytes: Uint8Array,
  step: () => Promise<void>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const half = Math.ceil(bytes.byteLength / 2);
  yield bytes.subarray(0, half);
  await step();
  yield bytes.subarray(half);
}

export type PullsDeps = {
  /** Of the process that lives now. */
  readonly reader: () => ContentReader;
  readonly chance: Prng;
};

export class Pulls {
  /** Whole images and blobs; blobs that came from elsewhere; pulls that were refused with an excuse. */
  readonly counts = { images: 0, blobs: 0, fills: 0, excused: 0 };
  readonly #deps: PullsDeps;

  constructor(deps: PullsDeps) {
    this.#deps = deps;
  }

  /** The manifest, and its blobs if it has any. @throws AssertionError when it is refused without an excuse. */
  async image(repository: RepositoryName, reference: Reference, isExcused: () => boolean): Promise<void> {
    const reader = this.#deps.reader();
    await this.#expecting(`${repository}`, isExcused, async () => {
      const { digest, bytes, mediaType } = await reader.manifest(repository, reference, context());
      assert.equal(digestOf(bytes), digest);
      for (const { kind, digest: referred } of parseManifest(bytes, mediaType).references) {
        if (kind === 'blob') await this.#read(reader, repository, referred);
      }
      this.counts.images += 1;
    });
  }

  /** @throws AssertionError when it is refused without an excuse. */
  async blob(repository: RepositoryName, digest: Digest, isExcused: () => boolean): Promise<void> {
    const reader = this.#deps.reader();
    await this.#expecting(`${digest} of ${repository}`, isExcused, () =>
      this.#read(reader, repository, digest),
    );
  }

  /** An image, or a blob that nothing refers to there. */
  async throughMirror(isExcused: () => boolean): Promise<void> {
    const { chance } = this.#deps;
    if (chance.chance(0.1)) await this.image(MIRROR, { digest: MIRRORED.digest }, isExcused);
    else await this.blob(MIRROR, chance.pick([CONFIG, ...LONE]), isExcused);
  }

  async #read(reader: ContentReader, repository: RepositoryName, digest: Digest): Promise<void> {
    const blob = await reader.blob(repository, digest, context());
    const pieces: Uint8Array[] = [];
    for await (const piece of await blob.open(undefined, context().signal)) pieces.push(piece);
    assert.equal(digestOf(Buffer.concat(pieces)), digest);
    this.counts.blobs += 1;
    if (blob.source.kind !== 'local') this.counts.fills += 1;
  }

  async #expecting(what: string, isExcused: () => boolean, pull: () => Promise<void>): Promise<void> {
    try {
      await pull();
    } catch (thrown) {
      if (!(thrown instanceof RegistryError || thrown instanceof UnavailableError)) throw thrown;
      assert.ok(isExcused(), `a pull of ${what} was refused: ${messageOf(thrown)}`);
      this.counts.excused += 1;
    }
  }
}

function context(): RequestContext {
  return { requestId: 'pull', principal: 'eve', signal: NEVER };
}
