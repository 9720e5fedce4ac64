/**
 * Structured logs: one event a line, in the past tense, with fields from a fixed list, so that one query finds an
 * event in every region. Values never carry secrets; errors are logged by message and, where we are wrong, stack.
 */
import { pino } from 'pino';

export type LogFields = {
  readonly requestId?: string;
  readonly traceId?: string;
  readonly region?: string;
  readonly peer?: string;
  readonly repository?: string;
  readonly tag?: string;
  readonly digest?: string;
  readonly policy?: string;
  readonly upstream?: string;
  readonly method?: string;
  readonly path?: string;
  readonly status?: number;
  readonly bytes?: number;
  readonly count?: number;
  readonly durationMs?: number;
  readonly source?: string;
  readonly address?: string;
  readonly reason?: string;
  readonly err?: unknown;
};

export interface Log {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  /** A log that adds these fields to every line. */
  with(fields: LogFields): Log;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** Writes JSON lines to standard error. */
export function openLog(config: { readonly level: LogLevel }, fields: LogFields): Log {
  const logger = pino(
    {
      level: config.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      messageKey: 'event',
      formatters: { level: (level) => ({ level }) },
    },
    standardError(),
  );
  return wrap(logger.child(fields));
}

/** Lines that wait because nothing takes them, as on a full disk; later ones are dropped. */
const WAITING_BYTES_MAX = 1024 * 1024;

/** A log that cannot be written must not end the process: what waits is tried again with the next line. */
function standardError() {
  const destination = pino.destination({ dest: 2, sync: true, maxLength: WAITING_BYTES_MAX });
  destination.on('error', () => undefined);
  return destination;
}

type PinoLike = {
  debug(fields: LogFields, event: string): void;
  info(fields: LogFields, event: string): void;
  warn(fields: LogFields, event: string): void;
  error(fields: LogFields, event: string): void;
  child(fields: LogFields): PinoLike;
};

function wrap(logger: PinoLike): Log {
  return {
    debug: (event, fields = {}) => logger.debug(fields, event),
    info: (event, fields = {}) => logger.info(fields, event),
    warn: (event, fields = {}) => logger.warn(fields, event),
    error: (event, fields = {}) => logger.error(fields, event),
    with: (fields) => wrap(logger.child(fields)),
  };
}

/** A log that says nothing, for tests. */
export const silentLog: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  with: () => silentLog,
};
