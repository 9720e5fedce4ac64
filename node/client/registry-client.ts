/**
 * An OCI registry, as asked by a fill: blobs by ranges, manifests whole and verified. A peer region and a foreign
 * registry are asked alike; what differs (certificate, headers, credentials, time limits) is configuration.
 *
 * Nothing is believed: a range must be the one asked for, a manifest must hash to its digest and parse, a length must
 * hold. Whatever fails that is an UnavailableError, as is silence; `undefined` only ever means "it has none" (404).
 * Source: OCI distribution spec, "Pulling blobs" and "Pulling manifests"; RFC 9110, section 14.
 */
import { algorithmOf, type Digest, digestOf, isDigest } from '#domain/digest.ts';
import { messageOf, UnavailableError } from '#domain/errors.ts';
import { MANIFEST_ACCEPT, MANIFEST_BYTES_MAX, MEDIA_TYPE, parseManifest } from '#domain/manifest.ts';
import { type Reference, type RepositoryName, referenceText } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { Clock } from '#runtime/clock.ts';
import type { ExchangeReply } from './http-exchange.ts';
import { RegistrySession, type RegistrySessionConfig } from './registry-session.ts';
import {
  parseContentLength,
  parseContentRange,
  parseMediaType,
  parseUnsatisfiedRange,
} from './reply-headers.ts';

export type BlobRequest = {
  readonly repository: RepositoryName;
  readonly digest: Digest;
  readonly offset: number;
};
export type ManifestRequest = { readonly repository: RepositoryName; readonly reference: Reference };

/** `sizeBytes` is the size of the whole blob, whatever the offset. Returning the iterator closes the connection. */
export type FetchedBlob = { readonly sizeBytes: number; readonly body: AsyncIterable<Uint8Array> };
export type FetchedManifest = {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
};
/** `digest` is `undefined` when the registry does not say it to a HEAD; a GET tells. */
export type ManifestHead = { readonly digest: Digest | undefined };

/**
 * A registry without ranges is read from the start up to the offset, if that is at most this far: a second on a slow
 * link. Beyond, it is no source for the rest of a blob.
 */
const SKIP_BYTES_MAX = 16 * 1024 * 1024;
const MANIFEST_TYPES: ReadonlySet<string> = new Set(Object.values(MEDIA_TYPE));
/** Also those that do not know HEAD; containerd, too, then asks by GET. */
const HEAD_STATUSES = [200, 404, 405, 501];

export class RegistryClient implements AsyncDisposable {
  readonly #session: RegistrySession;

  /** @throws TypeError when `url` is no http(s) address. */
  constructor(deps: { readonly clock: Clock }, config: RegistrySessionConfig) {
    this.#session = new RegistrySession(deps, config);
  }

  get name(): string {
    return this.#session.name;
  }

  /** `undefined`: it does not have the blob. The body throws UnavailableError when it ends early or stalls. */
  async openBlob(request: BlobRequest, context: RequestContext): Promise<FetchedBlob | undefined> {
    const { repository, digest, offset } = request;
    const what = `blob ${digest} of ${repository}`;
    const reply = await this.#session.ask(
      {
        method: 'GET',
        repository,
        path: `blobs/${digest}`,
        headers: offset === 0 ? {} : { range: `bytes=${offset}-` },
        lane: 'blob',
        what,
        expected: offset === 0 ? [200, 404] : [200, 206, 404, 416],
      },
      context,
    );
    if (reply.status === 404) {
      await reply.body.discard();
      return undefined;
    }
    try {
      refuseOtherContent(reply, digest);
      return reply.status === 416 ? await nothingLeft(reply, offset) : blobOf(reply, offset);
    } catch (thrown) {
      await reply.body.discard();
      throw this.#unusable(what, thrown);
    }
  }

  /** The manifest, byte for byte, verified. `undefined`: it has none by this reference. */
  async fetchManifest(
    request: ManifestRequest,
    context: RequestContext,
  ): Promise<FetchedManifest | undefined> {
    const { repository, reference } = request;
    const what = `manifest ${referenceText(reference)} of ${repository}`;
    const reply = await this.#askManifest('GET', request, context);
    if (reply.status === 404) {
      await reply.body.discard();
      return undefined;
    }
    const bytes = await reply.body.read(MANIFEST_BYTES_MAX);
    try {
      if (bytes === undefined) throw new Error(`it has more than ${MANIFEST_BYTES_MAX} bytes`);
      return verifyManifest(bytes, reference, reply);
    } catch (thrown) {
      throw this.#unusable(what, thrown);
    }
  }

  /** `undefined`: it has none by this reference. */
  async headManifest(request: ManifestRequest, context: RequestContext): Promise<ManifestHead | undefined> {
    const reply = await this.#askManifest('HEAD', request, context);
    await reply.body.discard();
    if (reply.status === 404) return undefined;
    return { digest: reply.status === 200 ? saidDigest(reply) : undefined };
  }

  /** Ends with the last request under way; the signal's abort breaks those off. */
  async retire(signal: AbortSignal): Promise<void> {
    await this.#session.retire(signal);
  }

  /** Breaks off what is still under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session[Symbol.asyncDispose]();
  }

  #askManifest(
    method: 'GET' | 'HEAD',
    { repository, reference }: ManifestRequest,
    context: RequestContext,
  ): Promise<ExchangeReply> {
    return this.#session.ask(
      {
        method,
        repository,
        path: `manifests/${referenceText(reference)}`,
        headers: { accept: MANIFEST_ACCEPT },
        lane: 'question',
        what: `manifest ${referenceText(reference)} of ${repository}`,
        expected: method === 'GET' ? [200, 404] : HEAD_STATUSES,
      },
      context,
    );
  }

  #unusable(what: string, cause: unknown): UnavailableError {
    const reason = messageOf(cause);
    return new UnavailableError(`upstream "${this.name}" sent nothing usable for ${what}: ${reason}`, {
      cause,
      tried: [`${this.name}: ${reason}`],
    });
  }
}

/** A captive portal or a broken cache is caught before its bytes are: the digest in the header is another one. */
function refuseOtherContent(reply: ExchangeReply, digest: Digest): void {
  const encoding = reply.header('content-encoding') ?? 'identity';
  if (encoding !== 'identity') throw new Error(`it is encoded as ${encoding}, although that was ruled out`);
  const said = saidDigest(reply);
  if (said === undefined || algorithmOf(said) !== algorithmOf(digest) || said === digest) return;
  throw new Error(`it is said to be ${said}`);
}

function blobOf(reply: ExchangeReply, offset: number): FetchedBlob {
  const lengthBytes = parseContentLength(reply.header('content-length'));
  if (reply.status === 206) return rangeOf(reply, offset, lengthBytes);
  if (lengthBytes === undefined) throw new Error('its size is not said');
  if (offset > lengthBytes) throw new Error(`it has ${lengthBytes} bytes, fewer than the offset ${offset}`);
  if (offset > SKIP_BYTES_MAX) {
    throw new Error(`the range from ${offset} was ignored, which is too far to read up to`);
  }
  return { sizeBytes: lengthBytes, body: reply.body.stream(lengthBytes, offset) };
}

function rangeOf(reply: ExchangeReply, offset: number, lengthBytes: number | undefined): FetchedBlob {
  const range = parseContentRange(reply.header('content-range'));
  if (range === undefined) throw new Error('the Content-Range of the partial answer is unreadable');
  const { start, end, totalBytes } = range;
  const rangeBytes = totalBytes - offset;
  if (start !== offset || end !== totalBytes - 1) {
    throw new Error(`asked for bytes ${offset}-, it answered with ${start}-${end} of ${totalBytes}`);
  }
  if (lengthBytes !== undefined && lengthBytes !== rangeBytes) {
    throw new Error(`a range of ${rangeBytes} bytes has a Content-Length of ${lengthBytes}`);
  }
  return { sizeBytes: totalBytes, body: reply.body.stream(rangeBytes) };
}

/** Whoever has all bytes and asks for the rest gets 416 with the size, and learns that there is none. */
async function nothingLeft(reply: ExchangeReply, offset: number): Promise<FetchedBlob> {
  const sizeBytes = parseUnsatisfiedRange(reply.header('content-range'));
  if (sizeBytes !== offset) throw new Error(`it has no bytes from ${offset} on`);
  await reply.body.discard();
  return { sizeBytes, body: nothing() };
}

async function* nothing(): AsyncGenerator<Uint8Array> {
  yield* [];
}

function verifyManifest(bytes: Uint8Array, reference: Reference, reply: ExchangeReply): FetchedManifest {
  const said = saidDigest(reply);
  const expected = 'digest' in reference ? reference.digest : (said ?? digestOf(bytes));
  const actual = digestOf(bytes, algorithmOf(expected));
  if (actual !== expected) throw new Error(`its ${bytes.byteLength} bytes have the digest ${actual}`);
  const contentType = parseMediaType(reply.header('content-type'));
  const isKnown = contentType !== undefined && MANIFEST_TYPES.has(contentType);
  const { mediaType } = parseManifest(bytes, isKnown ? contentType : undefined);
  return { digest: actual, mediaType, bytes };
}

function saidDigest(reply: ExchangeReply): Digest | undefined {
  const said = reply.header('docker-content-digest');
  return said !== undefined && isDigest(said) ? said : undefined;
}
