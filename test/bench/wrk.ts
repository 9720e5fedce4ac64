/** wrk, a load generator in C: what it saw of one URL, or an error when anything was not as it should be. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

export type WrkResult = {
  readonly requestsPerSecond: number;
  readonly bytesPerSecond: number;
  readonly requests: number;
};

/** @throws Error for any error, any answer that is not 2xx, or less than `bytesEach` a request. */
export async function wrk(
  url: string,
  options: {
    readonly connections: number;
    readonly seconds: number;
    readonly bytesEach: number;
    readonly headers?: readonly string[];
  },
): Promise<WrkResult> {
  const headers = (options.headers ?? []).flatMap((header) => ['-H', header]);
  const { stdout } = await run('wrk', [
    '-t1',
    `-c${options.connections}`,
    `-d${options.seconds}s`,
    '--timeout',
    '30s',
    ...headers,
    url,
  ]);
  const problem = /Socket errors: .*|Non-2xx.*/.exec(stdout);
  if (problem !== null) throw new Error(`${url}: ${problem[0]}`);
  const [, requestsText, , sizeText, unit] =
    /(\d+) requests in ([\d.]+\w+), ([\d.]+)(\w*B) read/.exec(stdout) ?? [];
  const perSecond = /Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1];
  const [, transfer, transferUnit] = /Transfer\/sec:\s+([\d.]+)(\w*B)/.exec(stdout) ?? [];
  const requests = Number(requestsText);
  const bytes = Number(sizeText) * (SIZES[unit ?? ''] ?? Number.NaN);
  // wrk prints three digits of the size.
  if (!(requests > 0) || bytes < requests * options.bytesEach * 0.99) {
    throw new Error(
      `${url}: ${requestsText} requests returned ${bytes} bytes, expected ${options.bytesEach} each`,
    );
  }
  return {
    requests,
    requestsPerSecond: Number(perSecond),
    bytesPerSecond: Number(transfer) * (SIZES[transferUnit ?? ''] ?? Number.NaN),
  };
}

const SIZES: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1024,
  MB: 1024 ** 2,
  GB: 1024 ** 3,
  TB: 1024 ** 4,
};
