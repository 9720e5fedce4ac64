/**
 * The private authority of a mesh: signs one certificate per region, by which regions prove to each other who they
 * are. `fairway up` makes one at its first start and writes files; a node only reads its own key and certificate,
 * and the authority's certificate. Whoever has the authority's key can be any region: it belongs beside no node in
 * production.
 *
 * Keys are EC P-256. The X.509 library takes a tenth of a second to load, and is therefore loaded by the first call.
 * Limit: nothing here renews or revokes; an authority ends after ten years, a region's certificate after `days`.
 */
import { createPrivateKey, webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import { parseRegionNumber, type RegionName } from '#domain/region.ts';
import { parseMeshId } from '#mesh/membership/roster.ts';
import { type Clock, systemClock } from '#runtime/clock.ts';
import { spiffeId } from './peer-identity.ts';

/** A certificate and its private key (PKCS #8), both PEM. */
export type KeyPair = { readonly certificatePem: string; readonly keyPem: string };

export type CertificateRequest = {
  readonly meshId: string;
  readonly region: RegionName;
  readonly number: number;
  /** Names and addresses at which the region's TLS ports are dialled, for clients that check host names. */
  readonly hosts: readonly string[];
  /** How long it is valid. */
  readonly days: number;
  /** Default: the system's. */
  readonly clock?: Clock;
};

const AUTHORITY_DAYS = 3650;
const DAY_MS = 24 * 60 * 60 * 1000;
/** Certificates are valid from an hour ago, so that a region whose clock is behind accepts them at once. */
const CLOCK_OFFSET_MS = 60 * 60 * 1000;
const EC_P256 = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const SIGNING = { name: 'ECDSA', hash: 'SHA-256' } as const;

/** @throws TypeError for a malformed mesh id. */
export async function createAuthority(options: {
  readonly meshId: string;
  readonly clock?: Clock;
}): Promise<KeyPair> {
  const meshId = parseMeshId(options.meshId);
  const x509 = await loadX509();
  const keys = await webcrypto.subtle.generateKey(EC_P256, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=Fairway authority of ${meshId}`,
    keys,
    signingAlgorithm: SIGNING,
    ...validity(options.clock ?? systemClock, AUTHORITY_DAYS),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificatePem: certificate.toString('pem'), keyPem: await privatePem(keys.privateKey) };
}

/** @throws TypeError for a malformed mesh id or region number. */
export async function issueCertificate(authority: KeyPair, request: CertificateRequest): Promise<KeyPair> {
  const identity = {
    meshId: parseMeshId(request.meshId),
    region: request.region,
    number: parseRegionNumber(request.number),
  };
  const x509 = await loadX509();
  const issuer = new x509.X509Certificate(authority.certificatePem);
  const keys = await webcrypto.subtle.generateKey(EC_P256, true, ['sign', 'verify']);
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
  const certificate = await x509.X509CertificateGenerator.create({
    subject: `CN=${request.region}`,
    issuer: issuer.subject,
    publicKey: keys.publicKey,
    signingKey: await importKey(authority.keyPem),
    signingAlgorithm: SIGNING,
    ...validity(request.clock ?? systemClock, request.days),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([serverAuth, clientAuth]),
      new x509.SubjectAlternativeNameExtension([
        { type: 'url', value: spiffeId(identity) },
        ...request.hosts.map((host) => ({ type: isIP(host) === 0 ? 'dns' : 'ip', value: host }) as const),
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificatePem: certificate.toString('pem'), keyPem: await privatePem(keys.privateKey) };
}

/** The library finds its decorators' metadata only where the polyfill was loaded before it. */
async function loadX509() {
  await import('reflect-metadata');
  return import('@peculiar/x509');
}

function validity(clock: Clock, days: number) {
  const nowMs = clock.nowMs();
  return { notBefore: new Date(nowMs - CLOCK_OFFSET_MS), notAfter: new Date(nowMs + days * DAY_MS) };
}

async function privatePem(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    .export({ format: 'pem', type: 'pkcs8' })
    .toString();
}

async function importKey(keyPem: string): Promise<webcrypto.CryptoKey> {
  const der = createPrivateKey(keyPem).export({ format: 'der', type: 'pkcs8' });
  return webcrypto.subtle.importKey('pkcs8', new Uint8Array(der), EC_P256, false, ['sign']);
}
