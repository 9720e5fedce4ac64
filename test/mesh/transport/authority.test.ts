/** The private authority, and who its certificates say they are. */
import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { parseRegionName } from '#domain/region.ts';
import { parseMeshId } from '#mesh/membership/roster.ts';
import { createAuthority, issueCertificate } from '#mesh/transport/authority.ts';
import { peerIdentity, sameIdentity } from '#mesh/transport/peer-identity.ts';

const EU_WEST = {
  meshId: 'm1',
  region: parseRegionName('eu-west'),
  number: 7,
  hosts: ['localhost'],
  days: 365,
};
const DAY_MS = 24 * 60 * 60 * 1000;

test('authority: a malformed mesh id or region number is refused', async () => {
  await assert.rejects(createAuthority({ meshId: 'a/b' }), /not a mesh id/);
  const authority = await createAuthority({ meshId: 'm1' });
  await assert.rejects(issueCertificate(authority, { ...EU_WEST, number: 0 }), /not a region number/);
  await assert.rejects(issueCertificate(authority, { ...EU_WEST, meshId: '' }), /not a mesh id/);
});

test('authority: only its own key signs for it', async () => {
  const authority = await createAuthority({ meshId: 'm1' });
  const other = await createAuthority({ meshId: 'm1' });
  const { certificatePem } = await issueCertificate({ ...authority, keyPem: other.keyPem }, EU_WEST);
  const { publicKey } = new X509Certificate(authority.certificatePem);
  assert.equal(new X509Certificate(certificatePem).verify(publicKey), false);
});

test('authority: a certificate names its region, its hosts and its time, and cannot sign others', async () => {
  const nowMs = Date.now();
  const authority = await createAuthority({ meshId: 'm1' });
  const hosts = ['localhost', '127.0.0.1', '::1'];
  const issued = await issueCertificate(authority, { ...EU_WEST, hosts });
  const [root, leaf] = [
    new X509Certificate(authority.certificatePem),
    new X509Certificate(issued.certificatePem),
  ];
  assert.ok(leaf.verify(root.publicKey));
  assert.ok(leaf.checkIssued(root));
  assert.equal(root.ca, true);
  assert.equal(leaf.ca, false);
  assert.equal(leaf.checkHost('localhost'), 'localhost');
  assert.equal(leaf.checkIP('127.0.0.1'), '127.0.0.1');
  assert.ok(leaf.checkPrivateKey(createPrivateKey(issued.keyPem)));
  assert.equal(leaf.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  assert.ok(leaf.validFromDate.getTime() < nowMs);
  assert.ok(Math.abs(leaf.validToDate.getTime() - nowMs - 365 * DAY_MS) < DAY_MS);
  assert.ok(Math.abs(root.validToDate.getTime() - nowMs - 3650 * DAY_MS) < DAY_MS);
  const identity = { meshId: parseMeshId('m1'), region: EU_WEST.region, number: 7 };
  assert.deepEqual(peerIdentity({ subjectaltname: leaf.subjectAltName }), identity);
});

test('peer identity: nobody, for a certificate with no, several or malformed URIs', () => {
  const good = 'URI:spiffe://m1/region/eu-west/1';
  const strangers = [
    undefined,
    '',
    'DNS:localhost, IP Address:127.0.0.1',
    `${good}, URI:spiffe://m1/region/us-east/2`,
    `${good}, URI:https://example.com/`,
    'URI:spiffe://m1/region/eu-west',
    'URI:spiffe://m1/region/eu-west/0',
    'URI:spiffe://m1/region/eu-west/01',
    'URI:spiffe://m1/region/eu-west/65536',
    'URI:spiffe://m1/region/EU/1',
    'URI:spiffe://m1/region/1eu/1',
    'URI:spiffe:///region/eu-west/1',
    'URI:spiffe://m1/region/eu-west/1/more',
    'URI:https://m1/region/eu-west/1',
    `DNS:"x, ${good}"`,
    `DNS:${good}`,
  ];
  for (const subjectaltname of strangers) {
    assert.equal(peerIdentity({ subjectaltname }), undefined, `${subjectaltname}`);
  }
  const identity = peerIdentity({ subjectaltname: `DNS:localhost, ${good}` });
  assert.deepEqual(identity, { meshId: 'm1', region: 'eu-west', number: 1 });
});

test('peer identity: the same only when mesh, name and number are', () => {
  const identity = peerIdentity({ subjectaltname: 'URI:spiffe://m1/region/eu-west/1' });
  assert.ok(identity !== undefined);
  assert.ok(sameIdentity({ ...identity }, identity));
  assert.ok(!sameIdentity(undefined, identity));
  assert.ok(!sameIdentity({ ...identity, meshId: parseMeshId('m2') }, identity));
  assert.ok(!sameIdentity({ ...identity, region: parseRegionName('eu-east') }, identity));
  assert.ok(!sameIdentity(peerIdentity({ subjectaltname: 'URI:spiffe://m1/region/eu-west/2' }), identity));
});
