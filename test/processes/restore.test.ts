/**
 * A region's folder set back to an older copy of itself: it begins another epoch, what was lost here comes back from
 * the other regions, and nothing that is pushed afterwards is taken for what was pushed before.
 */
import assert from 'node:assert/strict';
import { cp, rm } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { metricOf, statusOf, until } from './management.ts';
import { type MeshUnderTest, REGIONS, startMesh } from './mesh-under-test.ts';
import { makeImage, pullImage, pushImage } from './registry-calls.ts';

const [EU] = REGIONS as [(typeof REGIONS)[0]];

describe('restore', () => {
  let mesh: MeshUnderTest;

  before(async () => {
    mesh = await startMesh();
  });

  after(async () => {
    await mesh?.[Symbol.asyncDispose]();
    assert.deepEqual(mesh.ended, []);
  });

  const epochOf = async () => (await statusOf(mesh.region(0))).epoch;
  const knownTo = async (positions: readonly number[], tag: string) =>
    await until(`${tag} is known to ${positions}`, async () => {
      const answers = await Promise.all(
        positions.map(async (position) => await fetch(`${mesh.url(position)}/v2/kept/app/tags/list`)),
      );
      const lists = await Promise.all(
        answers.map(async (answer) =>
          answer.status === 200 ? ((await answer.json()) as { tags: string[] }).tags : [],
        ),
      );
      return lists.every((tags) => tags.includes(tag));
    });
  const nobodyIsBehind = async () => {
    const all = await Promise.all([0, 1, 2].map(async (position) => await statusOf(mesh.region(position))));
    return all.every(({ peers }) =>
      peers.every((peer) => peer.up && peer.behindClaims === 0 && peer.unconfirmedClaims === 0),
    );
  };

  test('restore: an orderly stop and start goes on in the same epoch', async () => {
    await pushImage(mesh.url(0), 'kept/app', 'first', makeImage(1000));
    const epoch = await epochOf();
    await mesh.mesh.kill(EU, 'SIGTERM');
    await mesh.mesh.startRegion(EU);
    assert.equal(await epochOf(), epoch);
  });

  test('restore: an older copy of the folder begins another epoch, and gets its lost tail back', async () => {
    const epoch = await epochOf();
    const { folder } = mesh.region(0);
    await mesh.mesh.kill(EU, 'SIGTERM');
    await cp(folder, `${folder}.backup`, { recursive: true });
    await mesh.mesh.startRegion(EU);
    const later = ['one', 'two', 'three'].map((tag) => ({ tag, image: makeImage(1000) }));
    for (const { tag, image } of later) await pushImage(mesh.url(0), 'kept/app', tag, image);
    await knownTo([1, 2], 'three');
    for (const { tag } of later) await pullImage(mesh.url(1), 'kept/app', tag);

    await mesh.mesh.kill(EU, 'SIGTERM');
    await rm(folder, { recursive: true });
    await cp(`${folder}.backup`, folder, { recursive: true });
    await mesh.mesh.startRegion(EU);
    assert.notEqual(await epochOf(), epoch);
    assert.equal(await metricOf(mesh.region(0), 'fairway_epochs_total{reason="mark-differs"}'), 1);
    const image = makeImage(1000);
    await pushImage(mesh.url(0), 'kept/app', 'after', image);
    await knownTo([0, 1, 2], 'after');
    await knownTo([0], 'three');
    for (const pushed of [...later, { tag: 'after', image }]) {
      for (const position of [0, 1, 2]) {
        assert.equal(await pullImage(mesh.url(position), 'kept/app', pushed.tag), pushed.image.digest);
      }
    }
    await until('nobody is behind', nobodyIsBehind);
    const { formerEpochs } = await statusOf(mesh.region(0));
    assert.deepEqual(
      formerEpochs.map((former) => [former.epoch, former.behindClaims]),
      [[epoch, 0]],
    );
  });

  test('restore: a region that was killed begins another epoch too, and nothing of it is lost', async () => {
    const epoch = await epochOf();
    const image = makeImage(1000);
    await pushImage(mesh.url(0), 'kept/app', 'killed', image);
    await mesh.mesh.kill(EU, 'SIGKILL');
    await mesh.mesh.startRegion(EU);
    assert.notEqual(await epochOf(), epoch);
    await pushImage(mesh.url(0), 'kept/app', 'killed-after', makeImage(1000));
    await knownTo([0, 1, 2], 'killed-after');
    assert.equal(await pullImage(mesh.url(2), 'kept/app', 'killed'), image.digest);
    await until('nobody is behind', nobodyIsBehind);
  });
});
