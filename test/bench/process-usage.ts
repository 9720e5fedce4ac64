/**
 * What a process took: processor time of all its threads, and memory, from /proc. Linux only; elsewhere nothing is
 * known, and the columns stay empty.
 */
import { readFileSync, writeFileSync } from 'node:fs';

export type Usage = {
  /** User and system time of all threads, and of children that were waited for, in the round. */
  readonly cpuSeconds: number;
  /** Resident at the end of the round, and at most during it. */
  readonly residentMb: number;
  readonly peakMb: number;
};

/** `_SC_CLK_TCK`, which is 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Begins to measure these processes; the answer ends it. `undefined` where /proc says nothing of one of them. */
export function watchProcesses(pids: readonly number[]): () => Usage | undefined {
  for (const pid of pids) resetPeak(pid);
  const before = pids.map(cpuSeconds);
  return () => {
    const after = pids.map(cpuSeconds);
    const memory = pids.map(memoryOf);
    const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
    const usage = {
      cpuSeconds: total(after) - total(before),
      residentMb: total(memory.map(({ residentMb }) => residentMb)),
      peakMb: total(memory.map(({ peakMb }) => peakMb)),
    };
    return pids.length > 0 && Object.values(usage).every(Number.isFinite) ? usage : undefined;
  };
}

/** This process and all below it, so that a registry that starts others is measured whole. */
export function processTree(root: number): readonly number[] {
  const children = read(`/proc/${root}/task/${root}/children`)?.trim() ?? '';
  const below = children === '' ? [] : children.split(' ').flatMap((pid) => processTree(Number(pid)));
  return [root, ...below];
}

function cpuSeconds(pid: number): number {
  // The second field is the program's name in parentheses, and may have spaces itself.
  const fields =
    read(`/proc/${pid}/stat`)
      ?.replace(/^.*\) /s, '')
      .split(' ') ?? [];
  const [user, system, childrenUser, childrenSystem] = fields.slice(11, 15).map(Number);
  return (
    ((user ?? NaN) + (system ?? NaN) + (childrenUser ?? NaN) + (childrenSystem ?? NaN)) / TICKS_PER_SECOND
  );
}

function memoryOf(pid: number): Pick<Usage, 'residentMb' | 'peakMb'> {
  const status = read(`/proc/${pid}/status`) ?? '';
  const mb = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1024;
  return { residentMb: mb('VmRSS'), peakMb: mb('VmHWM') };
}

/** Sets the peak back to what is resident now; without the right to, it is that of the process's whole life. */
function resetPeak(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
  } catch {
    // The peak is then an upper limit.
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
