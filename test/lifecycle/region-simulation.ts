/**
 * One region whose pushes, mounts, probes, pulls, fills, deletes and garbage collections take turns step by step, with
 * crashes in between and days that pass at any moment. The content room, the collector and the metadata are the
 * production code; a seed decides everything else.
 *
 * What must hold: whatever is shown is whole, at every crash and whenever all have ended; a pull of it succeeds at any
 * moment (`pulls.ts`); a push is never refused a blob that it was told is here within the grace; and what nothing needs
 * goes in the end.
 */
import assert from 'node:assert/strict';
import { Prng } from '#chaos/prng.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { type Digest, digestFromBytes, digestOf } from '#domain/digest.ts';
import { messageOf, RegistryError, UnavailableError } from '#domain/errors.ts';
import { parseRepositoryName, parseTag, type RepositoryName } from '#domain/name.ts';
import { Collection } from '#node/lifecycle/collection.ts';
import type { Clock } from '#runtime/clock.ts';
import type { BlobFiles, BlobStore } from '#storage/blob-store.ts';
import type { ManifestRow } from '#storage/metadata.ts';
import { image, index } from '#test/suites/manifest-samples.ts';
import { MIRROR, mirrorOf, Pulls } from './pulls.ts';
import { type Fault, type SimulatedRegion, startRegion } from './simulated-region.ts';
import { Stepping } from './stepping.ts';
import { openSteppingBlobs } from './stepping-blobs.ts';
import type { SteppingStore } from './stepping-store.ts';

const HOUR_MS = 3_600_000;
const GRACE_MS = 24 * HOUR_MS;
const REPOSITORIES = ['team/app', 'team/other'].map(parseRepositoryName) as [RepositoryName, RepositoryName];
const TAGS = ['v1', 'v2'].map(parseTag);
/** Few, so that they are shared, deleted and pushed again all the time. */
const CONTENTS = ['config', 'blob 1', 'blob 2', 'blob 3', 'blob 4'].map((text) =>
  new TextEncoder().encode(text),
);
const OPERATIONS_MAX = 14;
const NEVER = new AbortController().signal;

type Pushed = { readonly repository: RepositoryName; readonly manifest: ManifestRow };

export class RegionSimulation {
  readonly counts = { pushes: 0, crashes: 0, removedBlobs: 0, removedManifests: 0 };
  readonly pulls: Pulls;
  readonly #chance: Prng;
  readonly #stepping: Stepping;
  readonly #store: SteppingStore;
  readonly #files: { readonly raw: BlobStore & BlobFiles; readonly blobs: BlobStore & BlobFiles };
  readonly #fault: Fault;
  readonly #pushed: Pushed[] = [];
  readonly #clock: Clock = {
    nowMs: () => this.#nowMs,
    // Days that pass at once are no delay.
    monotonicMs: () => {
      this.#ticks += 1;
      return this.#ticks;
    },
    sleep: () => this.#stepping.step(),
    every: () => ({ [Symbol.dispose]: () => undefined }),
    after: () => ({ [Symbol.dispose]: () => undefined }),
  };
  #nowMs = 1_000_000_000_000;
  #ticks = 0;
  /** Deletions that were begun, and those that have not ended. */
  #deletions = 0;
  #deleting = 0;
  #region: SimulatedRegion;

  constructor(store: SteppingStore, seed: string, fault: Fault = 'none') {
    this.#chance = new Prng(seed);
    this.#stepping = new Stepping(this.#chance.split('order'));
    this.#store = store;
    this.#fault = fault;
    store.reset(() => this.#stepping.step());
    this.#files = openSteppingBlobs({ clock: this.#clock, random: this.#random }, () =>
      this.#stepping.step(),
    );
    this.#region = this.#start();
    this.pulls = new Pulls({ reader: () => this.#region.reader, chance: this.#chance.split('pulls') });
  }

  /** @throws AssertionError when something that is needed has gone. */
  async run(): Promise<void> {
    const lives = this.#chance.between(2, 4);
    for (let life = 0; life < lives; life += 1) {
      // Much is garbage by now, and the first to come may want it again.
      if (this.#chance.chance(0.4)) await this.#deleteAll();
      if (this.#chance.chance(0.7)) this.#nowMs += this.#chance.pick([26, 30, 80]) * HOUR_MS;
      const operations = this.#chance.between(4, OPERATIONS_MAX);
      this.#stepping.start(() => this.#collect(false));
      for (let n = 0; n < operations; n += 1) this.#stepping.start(this.#operation());
      const ended = await this.#stepping.run(
        this.#chance.chance(0.5) ? this.#chance.between(1, 300) : undefined,
      );
      if (!ended) this.#crash();
      await this.#check();
    }
  }

  /** Deletes all there is: what remains after the grace is garbage that would stay for ever. */
  async clear(): Promise<void> {
    await this.#deleteAll();
    this.#nowMs += 3 * GRACE_MS;
    this.#stepping.start(() => this.#collect(false));
    await this.#stepping.run();
    // What only a cache knows of stays.
    const needed = new Set(
      this.#store.rows('manifest_link').map((row) => {
        assert.equal(row['repository'], MIRROR);
        return row['digest'];
      }),
    );
    for (const [table, column] of [
      ['manifest', 'digest'],
      ['manifest_reference', 'manifest'],
      ['repository_reference', 'manifest'],
    ] as const) {
      const kept = this.#store.rows(table).filter((row) => !needed.has(row[column]));
      assert.deepEqual(kept, [], `${table} has rows that nothing needs`);
    }
    const referred = new Set(this.#store.rows('manifest_reference').map((row) => row['digest']));
    for (const table of ['blob', 'blob_link']) {
      const kept = this.#store.rows(table).filter((row) => !referred.has(row['digest']));
      assert.deepEqual(kept, [], `${table} has rows that nothing needs`);
    }
    const rows = new Set(this.#store.rows('blob').map((row) => row['digest']));
    assert.deepEqual(await this.#stored(), rows, 'files are left');
  }

  async #deleteAll(): Promise<void> {
    for (const row of this.#shownViews()) {
      const repository = parseRepositoryName(String(row['repository']));
      const name = String(row['name']);
      const reference = row['kind'] === CLAIM_KIND.tag ? { tag: parseTag(name) } : { digest: name as Digest };
      this.#stepping.start(async () => {
        await expectedly(this.#region.writer.deleteManifest(repository, reference, this.#context()));
      });
    }
    await this.#stepping.run();
  }

  #start(): SimulatedRegion {
    const { blobs } = this.#files;
    return startRegion(
      {
        ...{ metadata: this.#store.metadata, blobs, clock: this.#clock, random: this.#random },
        sources: mirrorOf(() => this.#stepping.step()),
      },
      this.#fault,
    );
  }

  get #random() {
    return {
      fraction: () => this.#chance.fraction(),
      bytes: (count: number) => Uint8Array.from({ length: count }, () => this.#chance.below(256)),
    };
  }

  #crash(): void {
    this.counts.crashes += 1;
    this.#stepping.crash();
    this.#deleting = 0;
    this.#region = this.#start();
  }

  /** Whatever a repository shows is whole. */
  async #check(): Promise<void> {
    const files = await this.#stored();
    const rows = new Set(this.#store.rows('blob').map((row) => row['digest']));
    const manifests = new Set(this.#store.rows('manifest').map((row) => row['digest']));
    const references = Map.groupBy(this.#store.rows('manifest_reference'), (row) => row['manifest']);
    const shown = this.#shownViews().map((row) =>
      row['kind'] === CLAIM_KIND.tag ? digestFromBytes(row['value'] as Uint8Array) : row['name'],
    );
    for (const digest of shown) {
      assert.ok(manifests.has(digest as string), `manifest ${digest} is shown and has gone`);
      for (const { kind, digest: referred } of references.get(digest as string) ?? []) {
        // What was here when the index was pushed stays here with it; a sparse index names children that never were.
        if (kind === 'manifest' && manifests.has(referred as string)) shown.push(referred as string);
        if (kind !== 'blob') continue;
        assert.ok(rows.has(referred as string), `${referred} has no row, and ${digest} refers to it`);
        assert.ok(files.has(referred as Digest), `${referred} has no file, and ${digest} refers to it`);
      }
    }
  }

  #shownViews(): readonly Record<string, unknown>[] {
    return this.#store.rows('view').filter((row) => row['live'] === 1);
  }

  async #stored(): Promise<ReadonlySet<Digest>> {
    const digests = new Set<Digest>();
    for await (const { digest } of this.#files.raw.list()) digests.add(digest);
    return digests;
  }

  #operation(): () => Promise<void> {
    const kind = this.#chance.below(20);
    if (kind < 4) return () => this.#pushImage();
    if (kind === 4) return () => this.#pushIndex();
    if (kind < 7) return () => this.#deleteManifest();
    if (kind === 7) return () => this.#deleteBlob();
    if (kind < 11) return () => this.#collect(this.#chance.chance(0.2));
    if (kind === 11) return () => this.#mount();
    if (kind < 14) return () => this.#pull();
    if (kind === 14) return () => this.pulls.throughMirror(this.#tookDays());
    if (kind < 19) return () => this.#upload();
    return async () => {
      this.#nowMs += this.#chance.pick([1, 1, 5, 30]) * HOUR_MS;
    };
  }

  /** Of anything that is shown. */
  async #pull(): Promise<void> {
    const shown = this.#shownViews();
    if (shown.length === 0) return;
    const row = this.#chance.pick(shown);
    const name = String(row['name']);
    const reference = row['kind'] === CLAIM_KIND.tag ? { tag: parseTag(name) } : { digest: name as Digest };
    await this.pulls.image(parseRepositoryName(String(row['repository'])), reference, this.#deletedSince());
  }

  /** What was mounted can be pulled from there. */
  async #mount(): Promise<void> {
    const [from, to] = this.#chance.chance(0.5) ? REPOSITORIES : REPOSITORIES.toReversed();
    const digest = digestOf(this.#chance.pick(CONTENTS));
    assert.ok(from !== undefined && to !== undefined);
    const tookDays = this.#tookDays();
    const isDeleted = this.#deletedSince();
    if (!(await this.#region.writer.mount(to, digest, from, this.#context()))) return;
    await this.pulls.blob(to, digest, () => isDeleted() || tookDays());
  }

  /** Whether anything was being deleted since now. */
  #deletedSince(): () => boolean {
    const before = this.#deletions - this.#deleting;
    return () => this.#deletions !== before;
  }

  /** Whether the grace of what is done now has passed. */
  #tookDays(): () => boolean {
    const startedMs = this.#nowMs;
    return () => this.#nowMs - startedMs >= GRACE_MS;
  }

  /** A blob that no manifest follows. */
  async #upload(): Promise<void> {
    const tookDays = this.#tookDays();
    try {
      await this.#bring(this.#chance.pick(REPOSITORIES), this.#chance.pick(CONTENTS));
    } catch (thrown) {
      if (!(thrown instanceof UnavailableError || thrown instanceof RegistryError)) throw thrown;
      assert.ok(tookDays(), `a blob was refused: ${messageOf(thrown)}`);
    }
  }

  async #pushImage(): Promise<void> {
    const repository = this.#chance.pick(REPOSITORIES);
    const [config, ...others] = CONTENTS;
    const layers = others.filter(() => this.#chance.chance(0.4));
    const startedMs = this.#nowMs;
    try {
      for (const bytes of [config ?? new Uint8Array(), ...layers]) await this.#bring(repository, bytes);
    } catch (thrown) {
      if (!(thrown instanceof RegistryError || thrown instanceof UnavailableError)) throw thrown;
      assert.ok(this.#nowMs - startedMs >= GRACE_MS, `a blob was refused: ${messageOf(thrown)}`);
      return;
    }
    const manifest = image({
      layers: layers.map((bytes) => ({ digest: digestOf(bytes), size: bytes.byteLength })),
    });
    await this.#put({ repository, manifest }, startedMs);
  }

  /** By the ways that a client goes: ask, mount, upload. */
  async #bring(repository: RepositoryName, bytes: Uint8Array): Promise<void> {
    const digest = digestOf(bytes);
    const { reader, writer } = this.#region;
    const context = this.#context();
    if (this.#chance.chance(0.05)) this.#nowMs += this.#chance.between(1, 6) * HOUR_MS;
    if (this.#chance.chance(0.6) && (await reader.blobStat(repository, digest, context)) !== undefined)
      return;
    if (this.#chance.chance(0.5) && (await writer.mount(repository, digest, undefined, context))) return;
    const upload = await writer.startUpload(repository, context);
    await upload.append(once(bytes), { signal: NEVER });
    await writer.finishUpload(repository, upload, digest, context);
  }

  async #put({ repository, manifest }: Pushed, startedMs: number): Promise<void> {
    const { digest, bytes, mediaType } = manifest;
    const reference = this.#chance.chance(0.6) ? { tag: this.#chance.pick(TAGS) } : { digest };
    try {
      await this.#region.writer.putManifest(
        { repository, reference, bytes, contentType: mediaType },
        this.#context(),
      );
      this.counts.pushes += 1;
      this.#pushed.push({ repository, manifest });
    } catch (thrown) {
      if (!(thrown instanceof RegistryError || thrown instanceof UnavailableError)) throw thrown;
      if (this.#nowMs - startedMs < GRACE_MS) await this.#excuse(manifest, thrown);
    }
  }

  /** Somebody may have taken a blob out of the repository meanwhile, but nobody out of the region. */
  async #excuse(manifest: ManifestRow, refusal: Error): Promise<void> {
    const files = await this.#stored();
    const rows = new Set(this.#store.rows('blob').map((row) => row['digest']));
    const text = new TextDecoder().decode(manifest.bytes);
    for (const digest of CONTENTS.map((bytes) => digestOf(bytes)).filter((known) => text.includes(known))) {
      const isHere = rows.has(digest) && files.has(digest);
      assert.ok(isHere, `a push was refused ${digest}, which it was told is here: ${messageOf(refusal)}`);
    }
  }

  async #pushIndex(): Promise<void> {
    if (this.#pushed.length === 0) return;
    const { repository } = this.#chance.pick(this.#pushed);
    const known = this.#pushed.filter((pushed) => pushed.repository === repository);
    const children = [this.#chance.pick(known), this.#chance.pick(known)];
    const manifest = index([...new Set(children.map((child) => child.manifest.digest))]);
    // Its children may have been deleted, and their blobs gone, long ago.
    await this.#put({ repository, manifest }, Number.NEGATIVE_INFINITY);
  }

  async #deleteManifest(): Promise<void> {
    const { writer } = this.#region;
    if (this.#pushed.length === 0) return;
    const { repository, manifest } = this.#chance.pick(this.#pushed);
    const reference = this.#chance.chance(0.4)
      ? { tag: this.#chance.pick(TAGS) }
      : { digest: manifest.digest };
    await this.#delete(() => writer.deleteManifest(repository, reference, this.#context()));
  }

  async #deleteBlob(): Promise<void> {
    const digest = digestOf(this.#chance.pick(CONTENTS));
    const repository = this.#chance.pick(REPOSITORIES);
    await this.#delete(() => this.#region.writer.deleteBlob(repository, digest, this.#context()));
  }

  async #delete(deletion: () => Promise<unknown>): Promise<void> {
    this.#deletions += 1;
    this.#deleting += 1;
    await expectedly(deletion());
    this.#deleting -= 1;
  }

  async #collect(dryRun: boolean): Promise<void> {
    const graceMs = this.#fault === 'no-grace' ? -100_000 * GRACE_MS : GRACE_MS;
    const config = { graceMs, useEveryMs: HOUR_MS, dryRun };
    const collection = new Collection(this.#region.collection, config, NEVER);
    await collection.run();
    if (dryRun) return;
    const { blobs, manifests } = collection.report();
    this.counts.removedBlobs += blobs.count;
    this.counts.removedManifests += manifests.count;
  }

  #context() {
    return { requestId: 'request', principal: 'ada', signal: NEVER };
  }
}

/** What was to be deleted may have been deleted by somebody else, or is held by a manifest. */
async function expectedly(deletion: Promise<unknown>): Promise<void> {
  try {
    await deletion;
  } catch (thrown) {
    if (!(thrown instanceof RegistryError)) throw thrown;
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
