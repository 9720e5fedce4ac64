/** wrk, a load generator in C: what it saw of one URL, or an error when anything was not as it should be. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

export type WrkResult = {
  readonly requestsPerSecond: number;
  readonly bytesPerSecond: number;
  readonly requests: number;
  /** Half of the answers, and 99 of 100, took at most so long. */
  readonly p50Ms: number;
  readonly p99Ms: number;
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
    '--latency',
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
    p50Ms: latencyMs(stdout, 50),
    p99Ms: latencyMs(stdout, 99),
    requestsPerSecond: Number(perSecond),
    bytesPerSecond: Number(transfer) * (SIZES[transferUnit ?? ''] ?? Number.NaN),
  };
}

function latencyMs(stdout: string, percent: number): number {
  const [, value, unit] = new RegExp(`^\\s+${percent}%\\s+([\\d.]+)(us|ms|s|m)$`, 'm').exec(stdout) ?? [];
  return Number(value) * (MILLISECONDS[unit ?? ''] ?? Number.NaN);
}

const MILLISECONDS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000 };

const SIZES: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1024,
  MB: 1024 ** 2,
  GB: 1024 ** 3,
  TB: 1024 ** 4,
};
