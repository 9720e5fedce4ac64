/** The management API of a region under test, with its token from the region's folder. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LocalRegion } from '#cli/local-mesh.ts';
import { RegionApi } from '#cli/management-calls.ts';
import type { ImageStatus, MeshStatus } from '#http/views.ts';

export async function managementOf(region: LocalRegion): Promise<RegionApi> {
  const token = (await readFile(join(region.folder, 'admin.token'), 'utf8')).trim();
  return new RegionApi(region.name, `http://127.0.0.1:${region.management.port}`, token);
}

export async function statusOf(region: LocalRegion): Promise<MeshStatus> {
  const { status, json } = await (await managementOf(region)).request('GET', '/api/v1/status');
  if (status !== 200) throw new Error(`status answered ${status}: ${JSON.stringify(json)}`);
  return json as MeshStatus;
}

export async function imageOf(region: LocalRegion, name: string): Promise<ImageStatus> {
  const { status, json } = await (await managementOf(region)).request('GET', '/api/v1/images', {
    query: { name },
  });
  if (status !== 200) throw new Error(`images answered ${status}: ${JSON.stringify(json)}`);
  return json as ImageStatus;
}

/** Applies a policy text; rejects with the problems. */
export async function applyPolicy(region: LocalRegion, text: string): Promise<void> {
  const { status, json } = await (await managementOf(region)).request('POST', '/api/v1/policies', {
    body: text,
  });
  if (status !== 200) throw new Error(`policies answered ${status}: ${JSON.stringify(json)}`);
}

/** One sample of a region's metrics; 0 when there is none. `series` is the name with its labels, as exposed. */
export async function metricOf(region: LocalRegion, series: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${region.management.port}/metrics`)).text();
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${series} `));
  return line === undefined ? 0 : Number(line.slice(series.length));
}

const WAIT_TRIES = 600;

/** Asks until it holds, for at most a minute. */
export async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let attempt = 0; attempt < WAIT_TRIES; attempt += 1) {
    if (await holds()) return;
    await sleep(100);
  }
  throw new Error(`waited for a minute in vain: ${what}`);
}
