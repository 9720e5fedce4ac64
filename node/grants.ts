/**
 * At a start, before anything is served: regions whose grant is not the one that this region last judged them by have
 * what they wrote judged again. Beside the database lies what that was; without the file, every limited region is.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { readPrivateFile, writePrivateFile } from '#access/private-file.ts';
import { parseRegionNumber } from '#domain/region.ts';
import { rejudge } from '#mesh/membership/rejudge.ts';
import type { Roster } from '#mesh/membership/roster.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import type { Random } from '#runtime/random.ts';
import type { ClaimRows } from '#storage/metadata.ts';

export type GrantsDeps = {
  readonly claims: ClaimRows;
  readonly roster: Roster;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
};

/** Region number → the grant, as text. Regions that are not limited are not in it. */
const judgedSchema = z.record(z.string(), z.string());

export async function applyGrants(deps: GrantsDeps, folder: string): Promise<void> {
  const { roster, clock, log } = deps;
  const path = join(folder, 'grants.json');
  const before = await readJudged(deps, path);
  const now = roster.grants.limited();
  const numbers = new Set([...Object.keys(before), ...Object.keys(now)]);
  const changed = [...numbers].filter((number) => before[number] !== now[number]);
  for (const number of changed) {
    const startedMs = clock.monotonicMs();
    const region = parseRegionNumber(Number(number));
    const { claims } = deps;
    log.info('grant changed', { region: roster.nameOf(region) });
    const count = await rejudge({ claims, grants: roster.grants, nowMs: () => clock.nowMs() }, region);
    const durationMs = Math.round(clock.monotonicMs() - startedMs);
    log.info('grant applied', { region: roster.nameOf(region), count, durationMs });
  }
  if (changed.length > 0) await writePrivateFile(path, `${JSON.stringify(now)}\n`, deps);
}

/** A file that cannot be read says nothing: judging once more changes nothing that is right. */
async function readJudged(deps: GrantsDeps, path: string): Promise<Readonly<Record<string, string>>> {
  const text = await readPrivateFile(path, 'grants', deps);
  try {
    return judgedSchema.parse(JSON.parse(text ?? '{}'));
  } catch {
    return {};
  }
}
