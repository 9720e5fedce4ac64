/**
 * Our own writes. Each reads the claims of its keys, decides, and commits against what it read; when another process
 * of the region was faster, it reads and decides again. Writes of one key run one after another, others side by side,
 * so that the store can group their commits. The answer is given after the commit, never before.
 *
 * Limits: `writesMax` writes; one more is refused at once. A write whose guards fail `ATTEMPTS_MAX` times is refused.
 */
import type { Dot } from '#domain/dot.ts';
import { messageOf } from '#domain/errors.ts';
import type { ClaimCommit, ClaimKey, StoredKey } from '#storage/metadata.ts';
import { keyOfChange, planWrite, type WritePlan } from './changes.ts';
import { type CoreState, noteHead } from './core-state.ts';
import type { Epochs } from './epochs.ts';
import { keyText } from './key-text.ts';
import type { KeyTurns } from './key-turns.ts';
import type { Input } from './step.ts';

type WriteInput = Extract<Input, { input: 'write' }>;

/** Lost guards in a row; each means that another writer of the key succeeded in between. */
const ATTEMPTS_MAX = 100;

export class Writes {
  readonly #state: CoreState;
  readonly #turns: KeyTurns;
  readonly #epochs: Epochs;
  readonly #ownGrew: () => void;
  /** Read, and not decided while an epoch is about to begin; they count as waiting. */
  #held: readonly Write[] = [];
  #count = 0;

  /** `ownGrew` is called after each commit of claims of our own. */
  constructor(
    deps: { readonly state: CoreState; readonly turns: KeyTurns; readonly epochs: Epochs },
    ownGrew: () => void,
  ) {
    this.#state = deps.state;
    this.#turns = deps.turns;
    this.#epochs = deps.epochs;
    this.#ownGrew = ownGrew;
  }

  get count(): number {
    return this.#count;
  }

  /** To be called when `Epochs.isOpen`. */
  release(): void {
    const held = this.#held;
    this.#held = [];
    for (const write of held) this.#read(write);
  }

  begin(input: WriteInput): void {
    if (this.#count >= this.#state.config.writesMax) {
      this.#refuse(input.id, `${this.#count} writes are waiting already`);
      return;
    }
    this.#count += 1;
    const keys = new Map(input.changes.map(keyOfChange).map((key) => [keyText(key), key]));
    const write = new Write(input, [...keys.values()], [...keys.keys()]);
    this.#turns.take(write.keyTexts, (done) => {
      write.done = done;
      this.#read(write);
    });
  }

  #read(write: Write): void {
    this.#state.readKeys(
      write.keys,
      (keys) => this.#decide(write, keys),
      (reason) => this.#fail(write, reason),
    );
  }

  #decide(write: Write, stored: readonly StoredKey[]): void {
    if (!this.#epochs.isOpen) {
      this.#held = [...this.#held, write];
      return;
    }
    let plan: WritePlan;
    const { changes, principal, seen = [] } = write.input;
    const { own: origin, nowMs, grants } = this.#state;
    try {
      plan = planWrite({ changes, principal, seen, origin, nowMs, grants }, stored);
    } catch (thrown) {
      this.#fail(write, messageOf(thrown));
      return;
    }
    if (plan.batch.own.length === 0) {
      this.#end(write, plan.lastFound ?? this.#headDot());
      return;
    }
    this.#state.commit(
      plan.batch,
      (result) => this.#committed(write, plan, result),
      (reason) => this.#fail(write, reason),
    );
  }

  #committed(write: Write, plan: WritePlan, result: ClaimCommit): void {
    if (result.outcome === 'conflict') {
      write.attempts += 1;
      if (write.attempts < ATTEMPTS_MAX) {
        this.#read(write);
        return;
      }
      this.#fail(write, 'other writers of these keys were always faster');
      return;
    }
    const { own } = this.#state;
    own.have = Math.max(own.have, result.origin.sequence);
    own.safe = own.have;
    noteHead(own, own.have, this.#state.nowMs);
    const sequence = result.firstSequence + plan.batch.own.length - 1;
    this.#end(write, { region: own.region, epoch: own.epoch, sequence });
    this.#state.emit({ output: 'changed', keys: plan.batch.views.map(keyOf) });
    for (const key of plan.closed) {
      this.#state.emit({ output: 'event', event: { event: 'conflict-closed', key } });
    }
    this.#ownGrew();
  }

  #end(write: Write, dot: Dot): void {
    this.#state.emit({ output: 'written', id: write.input.id, dot });
    this.#leave(write);
  }

  #fail(write: Write, reason: string): void {
    this.#refuse(write.input.id, reason);
    this.#leave(write);
  }

  #leave(write: Write): void {
    this.#count -= 1;
    write.done();
  }

  #refuse(id: number, reason: string): void {
    this.#state.emit({ output: 'write-failed', id, reason });
  }

  #headDot(): Dot {
    const { region, epoch, have } = this.#state.own;
    return { region, epoch, sequence: have };
  }
}

class Write {
  readonly input: WriteInput;
  readonly keys: readonly ClaimKey[];
  readonly keyTexts: readonly string[];
  attempts = 0;
  done: () => void = () => undefined;

  constructor(input: WriteInput, keys: readonly ClaimKey[], keyTexts: readonly string[]) {
    this.input = input;
    this.keys = keys;
    this.keyTexts = keyTexts;
  }
}

function keyOf({ kind, repository, name }: ClaimKey): ClaimKey {
  return { kind, repository, name };
}
