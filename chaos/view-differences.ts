/** Regions that know the same claims must show the same: what two of them show differently, in words. */
import { dotEquals } from '#domain/dot.ts';
import type { ViewRow } from '#storage/metadata.ts';
import { keyText } from './claim-store.ts';
import type { RegionProcess } from './region-process.ts';

/** Views of keys that are exempt are not compared. */
export function differentViews(
  [first, ...others]: readonly RegionProcess[],
  exempt: ReadonlySet<string>,
): readonly string[] {
  if (first === undefined) return [];
  return others.flatMap((other) => {
    const differing = [...first.store.views.values()].filter((view) => {
      if (exempt.has(keyText(view))) return false;
      const theirs = other.store.views.get(keyText(view));
      return theirs === undefined || !isSameView(view, theirs);
    });
    const count = ({ store }: RegionProcess) =>
      [...store.views.keys()].filter((key) => !exempt.has(key)).length;
    const [mine, theirs] = [count(first), count(other)];
    const sizes =
      mine === theirs ? [] : [`regions ${first.region} and ${other.region} show ${mine} and ${theirs} keys`];
    return sizes.concat(
      differing.map(
        (view) => `regions ${first.region} and ${other.region} show ${keyText(view)} differently`,
      ),
    );
  });
}

function isSameView(a: ViewRow, b: ViewRow): boolean {
  return (
    a.live === b.live &&
    a.conflict === b.conflict &&
    a.changedMs === b.changedMs &&
    a.principal === b.principal &&
    dotEquals(a.dot, b.dot) &&
    Buffer.compare(a.value, b.value) === 0
  );
}
