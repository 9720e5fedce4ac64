/**
 * Certificates of the servers that clients see, from files, read again when the files change. A new pair counts for
 * handshakes from then on; connections that are open go on as they are.
 *
 * Files are compared by content every few seconds, which sees every way of replacing them: a rename, a symbolic link
 * that was switched in a folder above (as Kubernetes does with secrets), a copy over them. Two files are never
 * replaced at one moment, so that a pair that does not fit, or cannot be read, is nothing unusual: the pair in use
 * stays, one log line says why, and the next look may find the rest.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { messageOf } from '#domain/errors.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import { Counter, Gauge, type Registry } from '#runtime/metrics.ts';
import type { ServerTls } from './listener.ts';

export type CertificatesDeps = { readonly clock: Clock; readonly log: Log; readonly metrics: Registry };
/** PEM; the certificate's file has the chain behind it. */
export type PairFiles = { readonly certificate: string; readonly key: string };
export type ServerName = 'registry' | 'management';

type Pair = { readonly cert: string; readonly key: string; readonly expiresMs: number };

/** Two small files: nothing beside what a request costs, and soon enough for a certificate that lives for weeks. */
const LOOK_MS = 5_000;

export class Certificates implements Disposable {
  readonly #deps: CertificatesDeps;
  readonly #stack = new DisposableStack();
  readonly #expiry: Gauge<'server'>;
  readonly #reloads: Counter<'server' | 'outcome'>;

  constructor(deps: CertificatesDeps) {
    this.#deps = deps;
    const registers = [deps.metrics];
    this.#expiry = new Gauge({
      name: 'fairway_tls_certificate_expiry_seconds',
      help: 'When the certificate in use ends, in seconds since 1970.',
      labelNames: ['server'],
      registers,
    });
    this.#reloads = new Counter({
      name: 'fairway_tls_reloads_total',
      help: 'Times that the files of a certificate had changed: taken, or refused because they are no pair.',
      labelNames: ['server', 'outcome'],
      registers,
    });
  }

  /**
   * For a server's `tls`; looked after until this is disposed. `undefined` without files.
   * @throws Error, in one line, that names the file and what to do.
   */
  async open(server: ServerName, files: PairFiles | undefined): Promise<ServerTls | undefined> {
    if (files === undefined) return undefined;
    const first = await readPair(files);
    const followed = new FollowedPair(first);
    this.#show(server, first);
    for (const outcome of ['taken', 'refused'] as const) this.#reloads.inc({ server, outcome }, 0);
    let isLooking = false;
    const timer = this.#deps.clock.every(LOOK_MS, () => {
      if (isLooking) return;
      isLooking = true;
      void this.#look(server, files, followed).finally(() => {
        isLooking = false;
      });
    });
    this.#stack.use(timer);
    return { cert: first.cert, key: first.key, follow: (apply) => followed.follow(apply) };
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }

  async #look(server: ServerName, files: PairFiles, followed: FollowedPair): Promise<void> {
    const { log } = this.#deps;
    try {
      const pair = await readPair(files);
      if (!followed.isNews(pair)) return;
      followed.take(pair);
      this.#show(server, pair);
      this.#reloads.inc({ server, outcome: 'taken' });
      const until = new Date(pair.expiresMs).toISOString();
      log.info('certificate reloaded', { path: files.certificate, reason: `valid until ${until}` });
    } catch (thrown) {
      const reason = messageOf(thrown);
      if (!followed.isNewFault(reason)) return;
      this.#reloads.inc({ server, outcome: 'refused' });
      log.warn('certificate not reloaded, the one in use stays', { path: files.certificate, reason });
    }
  }

  #show(server: ServerName, { expiresMs }: Pair): void {
    this.#expiry.set({ server }, Math.floor(expiresMs / 1000));
    if (expiresMs > this.#deps.clock.nowMs()) return;
    const reason = `it ended at ${new Date(expiresMs).toISOString()}; clients will refuse it`;
    this.#deps.log.warn('certificate has ended', { reason });
  }
}

/** The pair in use, who uses it, and the fault that was told last. */
class FollowedPair {
  readonly #appliers = new Set<(pair: Pair) => void>();
  #pair: Pair;
  #fault: string | undefined;

  constructor(pair: Pair) {
    this.#pair = pair;
  }

  follow(apply: (pair: Pair) => void): Disposable {
    this.#appliers.add(apply);
    return { [Symbol.dispose]: () => void this.#appliers.delete(apply) };
  }

  isNews({ cert, key }: Pair): boolean {
    const isSame = cert === this.#pair.cert && key === this.#pair.key;
    if (isSame) this.#fault = undefined;
    return !isSame;
  }

  isNewFault(fault: string): boolean {
    const isNew = fault !== this.#fault;
    this.#fault = fault;
    return isNew;
  }

  take(pair: Pair): void {
    this.#pair = pair;
    this.#fault = undefined;
    for (const apply of this.#appliers) apply(pair);
  }
}

/** @throws Error in one line. */
async function readPair(files: PairFiles): Promise<Pair> {
  const [cert, key] = await Promise.all([
    read(files.certificate, 'certificate'),
    read(files.key, 'private key'),
  ]);
  const certificate = parsed(files.certificate, 'the server certificate in PEM, its chain behind it', () => {
    return new X509Certificate(cert);
  });
  const privateKey = parsed(files.key, 'its private key in PEM, without a passphrase', () =>
    createPrivateKey(key),
  );
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new Error(
      `${files.key} is not the key of the certificate in ${files.certificate}: give both from one issue`,
    );
  }
  // What follows the first certificate is read here, too.
  parsed(files.certificate, 'certificates in PEM only', () => createSecureContext({ cert, key }));
  return { cert, key, expiresMs: Date.parse(certificate.validTo) };
}

async function read(file: string, what: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    const remedy = 'name a file that this process may read';
    throw new Error(`cannot read the ${what}: ${messageOf(cause)}; ${remedy}`, { cause });
  }
}

function parsed<Value>(file: string, expected: string, parse: () => Value): Value {
  try {
    return parse();
  } catch (cause) {
    throw new Error(`cannot use ${file}: ${messageOf(cause)}; it must hold ${expected}`, { cause });
  }
}
