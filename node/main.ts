/**
 * One region's process: signals to an AbortSignal, configuration, the node, and how it ends.
 *
 * Started by `fairway up` it reports over the IPC channel, and stops when that channel closes, so that it never
 * outlives its parent. What cannot be started is said in one line, with exit code 1.
 */
import { messageOf } from '#domain/errors.ts';
import { openLog } from '#runtime/log.ts';
import { readNodeConfig } from './config.ts';
import { type NodeStart, startNode } from './node.ts';

type Report = { readonly report: 'started' } | { readonly report: 'failed'; readonly message: string };

/** Runs until told to stop; the exit code. */
export async function runNode(configFile: string, start: NodeStart): Promise<number> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => stop.abort(new Error(signal)));
  process.on('disconnect', () => stop.abort(new Error('the parent process has gone')));
  try {
    const config = readNodeConfig(configFile);
    const log = openLog({ level: config.log }, { region: config.region.name });
    await using _node = await startNode(config, log, start);
    await report({ report: 'started' });
    await aborted(stop.signal);
    log.info('node stopping', { reason: messageOf(stop.signal.reason) });
  } catch (thrown) {
    await report({ report: 'failed', message: messageOf(thrown) });
    if (process.send === undefined) process.stderr.write(`fairway: ${messageOf(thrown)}\n`);
    return 1;
  } finally {
    if (process.connected) process.disconnect?.();
  }
  return 0;
}

/** Tells the parent, where there is one. */
async function report(message: Report): Promise<void> {
  if (process.send === undefined || !process.connected) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  process.send(message, () => resolve());
  await promise;
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  signal.addEventListener('abort', () => resolve(), { once: true });
  await promise;
}
