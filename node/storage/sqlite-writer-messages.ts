/**
 * What the writer and its worker say to each other. A statement's text crosses once and is a number from then on, and
 * a group of batches crosses as a few flat arrays: cloning an object for each statement, and a buffer for each
 * string of bytes, took longer than running most of them.
 */
import type { SqliteFailure } from './sqlite-error.ts';
import type { SqlValue, WriteStatement } from './statement.ts';

export type WriterStart = { readonly path: string };

export type ToWorker =
  | { readonly type: 'group'; readonly group: WireGroup }
  /** Answered by the end of the thread. */
  | { readonly type: 'close' };

export type WireText = { readonly sql: string; readonly parameterCount: number };

export type WireGroup = {
  /** Texts that the worker has not seen; their numbers follow on the last one's. */
  readonly texts: readonly WireText[];
  /** How many statements each batch has. */
  readonly batchLengths: Int32Array;
  /** Of each statement: four times the number of its text, and the place of its role in `ROLES`. */
  readonly codes: Int32Array;
  /** Of all statements, in order; `undefined` stands for the next string of bytes. */
  readonly parameters: readonly (Exclude<SqlValue, Uint8Array> | undefined)[];
  readonly bytesLengths: Int32Array;
  /** All strings of bytes, one behind the other; its buffer is handed over. */
  readonly bytes: Uint8Array<ArrayBuffer>;
};

export type FromWorker =
  | { readonly type: 'opened' }
  | { readonly type: 'open-failed'; readonly failure: SqliteFailure }
  | { readonly type: 'written'; readonly results: readonly BatchResult[] };

export type BatchResult =
  | { readonly outcome: 'committed'; readonly answers: readonly (readonly unknown[])[] }
  | { readonly outcome: 'refused' }
  | { readonly outcome: 'failed'; readonly failure: SqliteFailure };

type Role = WriteStatement['role'];
const ROLES: readonly Role[] = ['run', 'guard', 'answer'];
const CODES_PER_TEXT = 4;

/** Numbers the texts, in one writer. */
export class GroupPacker {
  readonly #numbers = new Map<string, number>();

  pack(batches: readonly (readonly WriteStatement[])[]): WireGroup {
    const texts: WireText[] = [];
    const codes: number[] = [];
    const parameters: (Exclude<SqlValue, Uint8Array> | undefined)[] = [];
    const strings: Uint8Array[] = [];
    for (const statement of batches.flat()) {
      codes.push(this.#number(statement, texts) * CODES_PER_TEXT + ROLES.indexOf(statement.role));
      for (const value of statement.parameters) {
        if (value instanceof Uint8Array) strings.push(value);
        parameters.push(value instanceof Uint8Array ? undefined : value);
      }
    }
    return {
      ...{ texts, parameters, bytes: joined(strings) },
      batchLengths: Int32Array.from(batches, (batch) => batch.length),
      codes: Int32Array.from(codes),
      bytesLengths: Int32Array.from(strings, (string) => string.byteLength),
    };
  }

  #number({ sql, parameters }: WriteStatement, texts: WireText[]): number {
    const known = this.#numbers.get(sql);
    if (known !== undefined) return known;
    const number = this.#numbers.size;
    this.#numbers.set(sql, number);
    texts.push({ sql, parameterCount: parameters.length });
    return number;
  }
}

function joined(strings: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(strings.reduce((sum, string) => sum + string.byteLength, 0));
  let at = 0;
  for (const string of strings) {
    bytes.set(string, at);
    at += string.byteLength;
  }
  return bytes;
}

export type UnpackedStatement = {
  readonly text: number;
  readonly role: Role;
  readonly parameters: readonly SqlValue[];
};

/** The statements of each batch again. `parameterCount`: of a text, by its number. */
export function unpackGroup(
  group: WireGroup,
  parameterCount: (text: number) => number,
): readonly (readonly UnpackedStatement[])[] {
  let [statement, parameter, string, at] = [0, 0, 0, 0];
  const nextValue = (): SqlValue => {
    const value = group.parameters[parameter++];
    if (value !== undefined) return value;
    const start = at;
    at += group.bytesLengths[string++] ?? 0;
    return group.bytes.subarray(start, at);
  };
  const nextStatement = (): UnpackedStatement => {
    const code = group.codes[statement++] ?? 0;
    const text = Math.floor(code / CODES_PER_TEXT);
    const role = ROLES[code % CODES_PER_TEXT] ?? 'run';
    return { text, role, parameters: Array.from({ length: parameterCount(text) }, nextValue) };
  };
  return Array.from(group.batchLengths, (length) => Array.from({ length }, nextStatement));
}
