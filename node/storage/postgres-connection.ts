/**
 * How a process talks to PostgreSQL: numbers of eight bytes as numbers, bytes as `Uint8Array`, every statement with a
 * name, so that the server plans it once per connection, and everything in one schema.
 */
import { Client, type ClientConfig, Pool, types } from 'pg';

export type PostgresConfig = {
  /** `postgres://user:password@host:port/database?sslmode=…`. */
  readonly url: string;
  /** Default `fairway`. Made when it is not there and the role may. */
  readonly schema?: string;
  /** Connections for reading; one more writes. Default 8: about what one process can keep busy. */
  readonly readersMax?: number;
  /** How long a connection may take to open, in ms. Default 3,000: a client that waits for more has given up. */
  readonly connectTimeoutMs?: number;
};

export const SCHEMA_DEFAULT = 'fairway';
const READERS_MAX = 8;
const CONNECT_TIMEOUT_MS = 3000;
/** A statement that runs longer is not one of ours gone slow, but a lock that nobody lets go, or a broken disk. */
const STATEMENT_TIMEOUT_MS = 10_000;
/**
 * A process that is stopped in the middle of a transaction holds the region's counter; the server takes it back after
 * this long. Between the statements of one group lie microseconds.
 */
const IDLE_IN_TRANSACTION_MS = 1500;
const INT8 = 20;
const BYTEA = 17;

export function openPool(config: PostgresConfig): Pool {
  const pool = new Pool({ ...clientConfig(config), max: config.readersMax ?? READERS_MAX });
  // Of a connection that waits in the pool: it is replaced when it is next needed, and there the error is told.
  pool.on('error', () => undefined);
  return pool;
}

/**
 * One connection whose statements are sent without waiting for the answers of those before them. `onLost` is called
 * when it ends, also before it was open.
 */
export async function connectPipelined(
  config: PostgresConfig,
  onLost: (client: Client) => void,
): Promise<Client> {
  const pipelined = { ...clientConfig(config), pipeline: true };
  const client = new Client(pipelined);
  client.on('error', () => onLost(client));
  client.on('end', () => onLost(client));
  await client.connect();
  return client;
}

export function clientConfig(config: PostgresConfig): ClientConfig {
  const schema = config.schema ?? SCHEMA_DEFAULT;
  return {
    connectionString: config.url,
    connectionTimeoutMillis: config.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
    application_name: 'fairway',
    keepAlive: true,
    options: [
      `-c search_path=${schema}`,
      `-c statement_timeout=${STATEMENT_TIMEOUT_MS}`,
      `-c idle_in_transaction_session_timeout=${IDLE_IN_TRANSACTION_MS}`,
      '-c client_encoding=UTF8',
    ].join(' '),
    types: { getTypeParser },
  };
}

function getTypeParser(oid: number, format?: 'text' | 'binary') {
  if (format === 'binary') return types.getTypeParser(oid, 'binary');
  if (oid === INT8) return safeInteger;
  if (oid === BYTEA) return bytesOf;
  return types.getTypeParser(oid, 'text');
}

function safeInteger(text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number)) throw new RangeError(`${text} from the database is no safe integer`);
  return number;
}

/** The server's hexadecimal form: `\x` and two digits a byte. */
function bytesOf(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.slice(2), 'hex'));
}

/** A name for each text, the same on every connection of the process. */
export class StatementNames {
  readonly #names = new Map<string, string>();

  of(sql: string): string {
    const known = this.#names.get(sql);
    if (known !== undefined) return known;
    const name = `fairway_${this.#names.size + 1}`;
    this.#names.set(sql, name);
    return name;
  }
}
