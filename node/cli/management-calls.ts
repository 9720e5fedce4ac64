/**
 * Calls to the management API of regions: found through the data folder of `fairway up` (addresses and tokens stand
 * there), or named by `--server` with the token in `FAIRWAY_TOKEN`.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { request } from 'undici';
import { messageOf } from '#domain/errors.ts';
import { readNodeConfig, tokenFromEnvironment } from '#node/config.ts';
import { WrongCallError } from './exit.ts';
import { addressText } from './mesh-folder.ts';

export type CallOptions = {
  readonly query?: Readonly<Record<string, string>>;
  /** A string is sent as YAML, anything else as JSON. */
  readonly body?: unknown;
};

export interface ManagementCalls {
  /** @throws Error that says which address did not answer, and what to do. */
  request(
    method: string,
    path: string,
    options?: CallOptions,
  ): Promise<{ readonly status: number; readonly json: unknown }>;
}

/** One region's management API. */
export class RegionApi implements ManagementCalls {
  /** The region's name, or its address where the name is not known. */
  readonly name: string;
  readonly #url: string;
  readonly #token: string;

  constructor(name: string, url: string, token: string) {
    this.name = name;
    this.#url = url;
    this.#token = token;
  }

  async request(method: string, path: string, options: CallOptions = {}) {
    const url = new URL(path, this.#url);
    for (const [name, value] of Object.entries(options.query ?? {})) url.searchParams.set(name, value);
    const isText = typeof options.body === 'string';
    const body = options.body === undefined || isText ? options.body : JSON.stringify(options.body);
    try {
      const answer = await request(url, {
        method: method as 'GET',
        headers: {
          authorization: `Bearer ${this.#token}`,
          ...(body === undefined ? {} : { 'content-type': isText ? 'application/yaml' : 'application/json' }),
        },
        body: (body as string | undefined) ?? null,
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      });
      const text = await answer.body.text();
      return { status: answer.statusCode, json: text === '' ? undefined : (JSON.parse(text) as unknown) };
    } catch (cause) {
      throw new Error(`${this.name} does not answer at ${this.#url} (${messageOf(cause)}); is it running?`, {
        cause,
      });
    }
  }
}

/** A status asks every peer at once, each for at most 2 s. Nobody wants to wait longer for a region that hangs. */
const REQUEST_TIMEOUT_MS = 5_000;

export type ServerOptions = { readonly data: string; readonly server?: string; readonly region?: string };

/** Adds `--data`, `--server` and `--region`. */
export function withServerOptions(command: Command): Command {
  return command
    .option('--data <folder>', 'data folder of fairway up: addresses and tokens are found there', '.fairway')
    .option('--server <url>', 'management address of a region; its token in FAIRWAY_TOKEN')
    .option(
      '--region <name>',
      'ask this region (default: all of the data folder, or the first that answers)',
    );
}

/** Every region that the options name, in order of the data folder. @throws WrongCallError when there is none. */
export function findRegions(options: ServerOptions): readonly RegionApi[] {
  if (options.server !== undefined) {
    const token = tokenFromEnvironment();
    if (token === undefined) throw new WrongCallError('--server needs the management token in FAIRWAY_TOKEN');
    return [new RegionApi(options.server, options.server, token)];
  }
  const regions = regionsOfFolder(options.data);
  const wanted = regions.filter((api) => options.region === undefined || api.name === options.region);
  if (wanted.length > 0) return wanted;
  const known = regions.map((api) => api.name).join(', ');
  throw new WrongCallError(
    known === ''
      ? `no region in ${options.data}; start one with "fairway up", or name the folder by --data`
      : `no region ${options.region} in ${options.data}; there are ${known}`,
  );
}

function regionsOfFolder(data: string): readonly RegionApi[] {
  if (!existsSync(data)) return [];
  return readdirSync(data)
    .map((name) => join(data, name))
    .filter((folder) => existsSync(join(folder, 'node.yaml')) && existsSync(join(folder, 'admin.token')))
    .map((folder) => ({ config: readNodeConfig(join(folder, 'node.yaml')), folder }))
    .sort((a, b) => a.config.region.number - b.config.region.number)
    .map(({ config, folder }) => {
      const token = readFileSync(join(folder, 'admin.token'), 'utf8').trim();
      const scheme = config.https.management === undefined ? 'http' : 'https';
      return new RegionApi(config.region.name, `${scheme}://${addressText(config.management)}`, token);
    });
}

/** Asks the regions in turn until one answers: for what any region can say. */
export function firstThatAnswers(regions: readonly RegionApi[]): ManagementCalls {
  return {
    request: async (method, path, options) => {
      const failures: string[] = [];
      for (const region of regions) {
        try {
          return await region.request(method, path, options);
        } catch (thrown) {
          failures.push(messageOf(thrown));
        }
      }
      throw new Error(failures.join('\n'));
    },
  };
}
