/**
 * Three regions as processes, over real sockets: what is pushed in one is pulled from any, what was missed is caught
 * up, and what is cut off goes on by itself.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { applyPolicy, imageOf, statusOf, until } from './management.ts';
import { type MeshUnderTest, REGIONS, startMesh } from './mesh-under-test.ts';
import { expectStatus, makeImage, pullImage, pushBlob, pushImage, putManifest } from './registry-calls.ts';

const [EU, US, AP] = REGIONS as [(typeof REGIONS)[0], (typeof REGIONS)[0], (typeof REGIONS)[0]];

describe('mesh', () => {
  let mesh: MeshUnderTest;

  before(async () => {
    mesh = await startMesh();
  });

  after(async () => {
    await mesh?.[Symbol.asyncDispose]();
    assert.deepEqual(mesh.ended, []);
  });

  const tagsOf = async (position: number, repository: string): Promise<readonly string[]> => {
    const response = await fetch(`${mesh.url(position)}/v2/${repository}/tags/list`);
    return response.status === 200 ? ((await response.json()) as { tags: string[] }).tags : [];
  };

  test('mesh: a tag pushed a moment ago is pulled from every other region, by tag and by digest', async () => {
    for (let round = 0; round < 5; round += 1) {
      const image = makeImage(200, 300_000);
      await pushImage(mesh.url(round % 3), 'fresh/app', `v${round}`, image);
      for (const position of [0, 1, 2]) {
        assert.equal(await pullImage(mesh.url(position), 'fresh/app', `v${round}`), image.digest);
        assert.equal(await pullImage(mesh.url(position), 'fresh/app', image.digest), image.digest);
      }
    }
  });

  test('mesh: a blob crosses once however many clients ask at the same moment', async () => {
    const image = makeImage(20_000_000);
    await pushImage(mesh.url(0), 'once/app', 'v1', image);
    const before = mesh.mesh.bytes(EU, US);
    const pulls = Array.from({ length: 12 }, async () => await pullImage(mesh.url(1), 'once/app', 'v1'));
    for (const digest of await Promise.all(pulls)) assert.equal(digest, image.digest);
    const crossed = mesh.mesh.bytes(EU, US) - before;
    assert.ok(
      crossed > 20_000_000 && crossed < 21_500_000,
      `${crossed} bytes crossed for a blob of 20,000,000`,
    );
    assert.equal(mesh.mesh.bytes(AP, US) < 5_000_000, true, 'nobody else was asked for it');
  });

  test('mesh: fairway image tells complete from known, and where the bytes came from', async () => {
    const image = makeImage(1_000_000);
    await pushImage(mesh.url(0), 'seen/app', 'v1', image);
    assert.equal(await pullImage(mesh.url(1), 'seen/app', 'v1'), image.digest);
    await until('ap-south knows the tag', async () => (await tagsOf(2, 'seen/app')).includes('v1'));
    const { regions } = await imageOf(mesh.region(0), 'seen/app:v1');
    assert.deepEqual(
      regions.map((region) => [region.region, region.state, Object.keys(region.bytesBySource)]),
      [
        [EU, 'complete', ['push']],
        [US, 'complete', [EU]],
        [AP, 'known', []],
      ],
    );
    assert.equal(regions[1]?.sizeBytesHere, regions[0]?.sizeBytes);
  });

  test('mesh: sole copies are shown until another region holds them whole', async () => {
    const image = makeImage(50_000);
    await pushImage(mesh.url(2), 'sole/app', 'v1', image);
    const isSole = async () =>
      (await statusOf(mesh.region(2))).soleCopies.some((copy) => copy.digest === image.digest);
    assert.equal(await isSole(), true);
    await pullImage(mesh.url(0), 'sole/app', 'v1');
    await until('it is no longer', async () => !(await isSole()));
  });

  test('mesh: a region that was down catches up by itself, and pulls what it missed', async () => {
    await mesh.mesh.kill(AP, 'SIGKILL');
    const images = Array.from({ length: 20 }, () => makeImage(5_000));
    for (const [n, image] of images.entries()) await pushImage(mesh.url(0), 'missed/app', `v${n}`, image);
    await expectStatus(await fetch(`${mesh.url(1)}/v2/missed/app/manifests/v0`, { method: 'DELETE' }), 202);
    await mesh.mesh.startRegion(AP);
    await until(
      'ap-south lists all tags but the deleted one',
      async () => (await tagsOf(2, 'missed/app')).length === 19,
    );
    for (const [n, image] of images.entries()) {
      if (n > 0) assert.equal(await pullImage(mesh.url(2), 'missed/app', `v${n}`), image.digest);
    }
    await until('nobody is behind', async () => {
      const all = await Promise.all([0, 1, 2].map(async (position) => await statusOf(mesh.region(position))));
      return all.every(({ peers }) =>
        peers.every((peer) => peer.up && peer.behindClaims === 0 && peer.unconfirmedClaims === 0),
      );
    });
  });

  test('mesh: two regions that are cut off from each other hear of each other through the third', async () => {
    mesh.mesh.cut(EU, US);
    const image = makeImage(10_000);
    await pushImage(mesh.url(0), 'around/app', 'v1', image);
    await until('us-east knows the tag', async () => (await tagsOf(1, 'around/app')).includes('v1'));
    mesh.mesh.heal(EU, US);
    await until('the link is back', async () =>
      (await statusOf(mesh.region(1))).peers.every((peer) => peer.up),
    );
    assert.equal(await pullImage(mesh.url(1), 'around/app', 'v1'), image.digest);
  });

  test('mesh: alone, a region serves what it holds, takes pushes, and says 503 for what it cannot know', async () => {
    const held = makeImage(10_000);
    await pushImage(mesh.url(0), 'alone/app', 'held', held);
    assert.equal(await pullImage(mesh.url(1), 'alone/app', 'held'), held.digest);
    for (const other of [EU, AP]) mesh.mesh.cut(US, other);
    await until('us-east is alone', async () =>
      (await statusOf(mesh.region(1))).peers.every((peer) => !peer.up),
    );
    assert.equal(await pullImage(mesh.url(1), 'alone/app', 'held'), held.digest);
    const mine = makeImage(10_000);
    await pushImage(mesh.url(1), 'alone/app', 'mine', mine);
    assert.equal(await pullImage(mesh.url(1), 'alone/app', 'mine'), mine.digest);
    const unknown = await expectStatus(
      await fetch(`${mesh.url(1)}/v2/alone/app/manifests/nobody-knows`),
      503,
    );
    assert.ok(Number(unknown.headers.get('retry-after')) > 0);
    assert.match(await unknown.text(), /eu-west/);
    const probed = await expectStatus(
      await fetch(`${mesh.url(1)}/v2/alone/app/manifests/nobody-knows`, { method: 'HEAD' }),
      404,
    );
    assert.match(probed.headers.get('warning') ?? '', /^299 /);
    for (const other of [EU, AP]) mesh.mesh.heal(US, other);
    await until('eu-west knows what was pushed meanwhile', async () =>
      (await tagsOf(0, 'alone/app')).includes('mine'),
    );
    await until('absence can be known again', async () => {
      return (await fetch(`${mesh.url(1)}/v2/alone/app/manifests/nobody-knows`)).status === 404;
    });
  });

  test('mesh: one tag moved in two regions apart ends with one winner everywhere, and the loser by digest', async () => {
    for (const other of [EU, AP]) mesh.mesh.cut(US, other);
    const [one, two] = [makeImage(1000), makeImage(1000)];
    await pushImage(mesh.url(0), 'both/app', 'v1', one);
    await pushImage(mesh.url(1), 'both/app', 'v1', two);
    for (const other of [EU, AP]) mesh.mesh.heal(US, other);
    const answers = async () =>
      await Promise.all(
        [0, 1, 2].map(async (position) => {
          const response = await fetch(`${mesh.url(position)}/v2/both/app/manifests/v1`, { method: 'HEAD' });
          return response.headers.get('docker-content-digest');
        }),
      );
    await until(
      'all regions answer the same',
      async () => new Set(await answers()).size === 1 && !(await answers()).includes(null),
    );
    const [winner] = await answers();
    const loser = winner === one.digest ? two : one;
    await until('the conflict is seen everywhere', async () => {
      const images = await Promise.all(
        [0, 1, 2].map(async (position) => await imageOf(mesh.region(position), 'both/app:v1')),
      );
      return images.every((image) => image.conflict);
    });
    for (const position of [0, 1, 2]) {
      assert.equal(await pullImage(mesh.url(position), 'both/app', loser.digest), loser.digest);
    }
  });

  test('mesh: a policy applied in one region copies in all that it names, and only what is missing', async () => {
    await applyPolicy(
      mesh.region(0),
      [
        'apiVersion: fairway/v1',
        'kind: ReplicationPolicy',
        'metadata: {name: copied}',
        'spec:',
        '  select: {repositories: ["copied/**", "!copied/private/**"], tags: ["v*"]}',
        `  to: {regions: [${US}]}`,
        '',
      ].join('\n'),
    );
    const first = makeImage(3_000_000);
    await pushImage(mesh.url(0), 'copied/app', 'v1', first);
    await pushImage(mesh.url(0), 'copied/app', 'latest', makeImage(1000));
    await pushImage(mesh.url(0), 'copied/private/app', 'v1', makeImage(2000));
    const stateIn = async (region: string, name: string) =>
      (await imageOf(mesh.region(0), name)).regions.find((entry) => entry.region === region)?.state;
    await until('us-east holds it whole', async () => (await stateIn(US, 'copied/app:v1')) === 'complete');
    for (const [region, name] of [
      [AP, 'copied/app:v1'],
      [US, 'copied/app:latest'],
      [US, 'copied/private/app:v1'],
    ] as const) {
      await until(`${region} knows ${name}`, async () => (await stateIn(region, name)) !== 'absent');
      assert.equal(await stateIn(region, name), 'known');
    }

    const before = mesh.mesh.bytes(EU, US) + mesh.mesh.bytes(AP, US);
    const second = makeImage(1000);
    const shared = { ...second, blobs: [...first.blobs, ...second.blobs] };
    const parsed = JSON.parse(second.manifest.toString()) as { layers: unknown[] };
    const layers = (JSON.parse(first.manifest.toString()) as { layers: unknown[] }).layers;
    const manifest = Buffer.from(JSON.stringify({ ...parsed, layers: [...layers, ...parsed.layers] }));
    for (const blob of shared.blobs) await expectStatus(await pushBlob(mesh.url(0), 'copied/app', blob), 201);
    await expectStatus(
      await putManifest(mesh.url(0), 'copied/app:v2', manifest, 'application/vnd.oci.image.manifest.v1+json'),
      201,
    );
    await until('us-east holds the second', async () => (await stateIn(US, 'copied/app:v2')) === 'complete');
    const crossed = mesh.mesh.bytes(EU, US) + mesh.mesh.bytes(AP, US) - before;
    assert.ok(crossed < 1_000_000, `${crossed} bytes crossed for a new layer of 1,000`);
  });

  test('mesh: replication goes on after its region was killed in the middle of it', async () => {
    const image = makeImage(30_000_000, 30_000_000);
    mesh.mesh.shape(EU, US, { delayMs: 0, bytesPerSecond: 20_000_000 });
    const before = mesh.mesh.bytes(EU, US);
    await pushImage(mesh.url(0), 'copied/large', 'v1', image);
    await until('us-east is in the middle of it', async () => mesh.mesh.bytes(EU, US) > before + 5_000_000);
    await mesh.mesh.kill(US, 'SIGKILL');
    await mesh.mesh.startRegion(US);
    await until('us-east holds it whole', async () => {
      const { regions } = await imageOf(mesh.region(0), 'copied/large:v1');
      return regions.find((entry) => entry.region === US)?.state === 'complete';
    });
    mesh.mesh.shape(EU, US, { delayMs: 0, bytesPerSecond: 0 });
    assert.equal(await pullImage(mesh.url(1), 'copied/large', 'v1'), image.digest);
  });

  test('mesh: the id of a request stands in the log of every region that it went through', async () => {
    const image = makeImage(5_000_000);
    await pushImage(mesh.url(0), 'traced/app', 'v1', image);
    const requestId = 'trace-me-through-the-mesh';
    const blob = `${mesh.url(1)}/v2/traced/app/blobs/${image.blobs[1]?.digest}`;
    const response = await expectStatus(
      await fetch(blob, { headers: { 'fairway-request-id': requestId } }),
      200,
    );
    await response.arrayBuffer();
    assert.equal(response.headers.get('fairway-request-id'), requestId);
    assert.match(response.headers.get('fairway-source') ?? '', /region; name=eu-west/);
    for (const position of [0, 1]) {
      const log = join(mesh.region(position).folder, 'node.log');
      await until(`${log} has the id`, async () => readFileSync(log, 'utf8').includes(requestId));
    }
  });

  test('mesh: no process has a file of another region open', {
    skip: existsSync('/proc/self/fd') ? false : 'needs /proc',
  }, () => {
    for (const region of mesh.mesh.regions) {
      const pid = mesh.mesh.pid(region.name);
      const open = readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
        try {
          return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
        } catch {
          return [];
        }
      });
      assert.ok(
        open.some((file) => file.startsWith(region.folder)),
        'it has its own files open',
      );
      const others = mesh.mesh.regions.filter((other) => other !== region);
      assert.deepEqual(
        open.filter((file) => others.some((other) => file.startsWith(`${other.folder}/`))),
        [],
      );
    }
  });
});
