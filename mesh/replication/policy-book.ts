/**
 * The policies in force, everywhere: applied ones are claims, and this is their reader and their writer.
 *
 * A policy is one claim under `<Kind>/<name>`, whose value is its document, normalised, with its comments. `current`
 * answers from a snapshot in memory, which is rebuilt when the index says that a policy changed, here or elsewhere.
 * Applying checks the text against what is in force and writes all that changed in one transaction. Regions that do
 * not see each other can still apply what does not fit together: see `policies/policy-set.ts` for who wins.
 */
import PQueue from 'p-queue';
import type { ClaimWriter, IndexChange } from '#content/claim-writer.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { messageOf } from '#domain/errors.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { Roster } from '#mesh/membership/roster.ts';
import type { PolicyDocument } from '#policies/model.ts';
import { parsePolicies } from '#policies/parse.ts';
import { NO_POLICIES, type PolicySet, resolvePolicies } from '#policies/policy-set.ts';
import { type PolicyProblem, PolicyProblems, problemText } from '#policies/problem.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import { TaskGroup } from '#runtime/task-group.ts';
import type { ClaimKey, ViewRow, ViewRows } from '#storage/metadata.ts';
import { WakeUp } from './wake-up.ts';

export type PolicyBookDeps = {
  readonly views: Pick<ViewRows, 'list'>;
  readonly claims: ClaimWriter;
  readonly roster: Roster;
  /** Reports the keys of views that changed, by this region or another one. */
  readonly onChanged: (listener: (keys: readonly ClaimKey[]) => void) => Disposable;
  readonly clock: Clock;
  readonly log: Log;
};

export type PolicyInForce = {
  readonly kind: string;
  readonly name: string;
  readonly document: string;
  readonly appliedBy: string;
  readonly appliedIn: string;
  readonly appliedMs: number;
};

export type PolicyChange = {
  readonly kind: string;
  readonly name: string;
  readonly change: 'created' | 'changed' | 'unchanged';
};

const PAGE_ROWS = 200;
/** When the store refuses to be read; the old snapshot stays in force meanwhile. */
const RELOAD_RETRY_MS = 1000;
/** Only a safety net: every change is reported. */
const RELOAD_INTERVAL_MS = 600_000;

export class PolicyBook implements AsyncDisposable {
  readonly #deps: PolicyBookDeps;
  readonly #changed: WakeUp;
  /** One at a time, so that each is checked against what the one before it left. Bounded by the requests in flight. */
  readonly #edits = new PQueue({ concurrency: 1 });
  readonly #tasks: TaskGroup;
  readonly #listeners = new Set<() => void>();
  readonly #resources = new DisposableStack();
  #current: PolicySet = NO_POLICIES;
  #texts = '';

  /** Reads what is in force, and follows it until disposed. @throws UnavailableError when the store does not answer. */
  static async open(deps: PolicyBookDeps): Promise<PolicyBook> {
    const book = new PolicyBook(deps);
    try {
      await book.#reload();
    } catch (thrown) {
      await book[Symbol.asyncDispose]();
      throw thrown;
    }
    book.#tasks.start((signal) => book.#follow(signal));
    return book;
  }

  private constructor(deps: PolicyBookDeps) {
    this.#deps = deps;
    this.#changed = new WakeUp(deps.clock);
    this.#tasks = new TaskGroup((err) => deps.log.error('policy book failed', { err }));
    const isPolicy = (key: ClaimKey) => key.kind === CLAIM_KIND.policy;
    this.#resources.use(
      deps.onChanged((keys) => {
        if (keys.some(isPolicy)) this.#changed.ring();
      }),
    );
  }

  /** What is in force now. The same object until something changes. */
  current(): PolicySet {
    return this.#current;
  }

  /** Calls back after `current` changed. */
  onChange(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Every policy, by kind and name; also those that this version cannot read. */
  async list(): Promise<readonly PolicyInForce[]> {
    const rows = await this.#rows();
    return rows.map((row) => ({
      ...splitName(row.name),
      document: textOf(row),
      appliedBy: row.principal,
      appliedIn: this.#deps.roster.nameOf(row.dot.region),
      appliedMs: row.changedMs,
    }));
  }

  /**
   * Applies every document of the text, all or none. What is in force with the same text already is not written.
   * @throws PolicyProblems when the text is wrong or does not fit what is in force; UnavailableError.
   */
  async apply(text: string, file: string, context: RequestContext): Promise<readonly PolicyChange[]> {
    const { policies } = parsePolicies(text, file);
    return await this.#edits.add(() => this.#apply(policies, context));
  }

  /**
   * Ends a policy: `<Kind>/<name>`, or its name alone where only one kind has it. False when there is none.
   * @throws PolicyProblems when the name is ambiguous, or another policy needs it; UnavailableError.
   */
  async remove(name: string, context: RequestContext): Promise<boolean> {
    return await this.#edits.add(() => this.#remove(name, context));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#resources.dispose();
    await this.#tasks[Symbol.asyncDispose]();
    await this.#edits.onIdle();
  }

  async #apply(
    policies: readonly PolicyDocument[],
    context: RequestContext,
  ): Promise<readonly PolicyChange[]> {
    context.signal.throwIfAborted();
    const rows = await this.#rows();
    const texts = new Map(rows.map((row) => [row.name, textOf(row)]));
    const inForce = this.#read(rows);
    const replaced = new Set(policies.map(keyName));
    refuseWhatIsNew(
      this.#problems(inForce),
      this.#problems([...inForce.filter((policy) => !replaced.has(keyName(policy))), ...policies]),
    );
    const changes = policies.map((policy): PolicyChange => {
      const before = texts.get(keyName(policy));
      const change = before === undefined ? 'created' : before === policy.text ? 'unchanged' : 'changed';
      return { kind: policy.kind, name: policy.name, change };
    });
    await this.#write(
      policies
        .filter((_policy, position) => changes[position]?.change !== 'unchanged')
        .map((policy) => ({ change: 'set-policy', name: keyName(policy), document: policy.text })),
      context,
    );
    return changes;
  }

  async #remove(name: string, context: RequestContext): Promise<boolean> {
    context.signal.throwIfAborted();
    const rows = await this.#rows();
    const found = rows.filter((row) => row.name === name || splitName(row.name).name === name);
    const [row] = found;
    if (row === undefined) return false;
    if (found.length > 1) {
      const message = `several policies have this name: say ${found.map((one) => one.name).join(' or ')}`;
      throw new PolicyProblems([{ file: name, line: 1, column: 1, message }]);
    }
    const inForce = this.#read(rows);
    refuseWhatIsNew(
      this.#problems(inForce),
      this.#problems(inForce.filter((policy) => keyName(policy) !== row.name)),
    );
    await this.#write([{ change: 'set-policy', name: row.name, document: '' }], context);
    return true;
  }

  async #write(changes: readonly IndexChange[], context: RequestContext): Promise<void> {
    if (changes.length === 0) return;
    await this.#deps.claims.write(changes, { principal: context.principal, signal: context.signal });
    // What was written is in force, whatever becomes of this reading: a failed one is made up for.
    await this.#reload().catch(() => this.#changed.ring());
  }

  #problems(policies: readonly PolicyDocument[]): readonly PolicyProblem[] {
    const regions = this.#deps.roster.regions.map((region) => region.name);
    return resolvePolicies(policies, { regions }).problems;
  }

  async #follow(signal: AbortSignal): Promise<void> {
    for (;;) {
      await this.#changed.wait(RELOAD_INTERVAL_MS, signal);
      try {
        await this.#reload();
      } catch (thrown) {
        this.#deps.log.warn('policies not read', { reason: messageOf(thrown) });
        await this.#deps.clock.sleep(RELOAD_RETRY_MS, signal);
        this.#changed.ring();
      }
    }
  }

  async #reload(): Promise<void> {
    const rows = await this.#rows();
    const texts = rows.map((row) => `${row.name}\n${textOf(row)}`).join('\0');
    if (texts === this.#texts) return;
    const regions = this.#deps.roster.regions.map((region) => region.name);
    const { set, problems } = resolvePolicies(this.#read(rows), { regions });
    for (const problem of problems) {
      this.#deps.log.warn('policy in doubt', { policy: problem.file, reason: problemText(problem) });
    }
    this.#texts = texts;
    this.#current = set;
    this.#deps.log.info('policies in force', { count: rows.length });
    for (const listener of this.#listeners) listener();
  }

  /** A document that this version cannot read was applied by a newer one: it is left alone. */
  #read(rows: readonly ViewRow[]): readonly PolicyDocument[] {
    return rows.flatMap((row) => {
      try {
        return parsePolicies(textOf(row), row.name).policies.filter((policy) => keyName(policy) === row.name);
      } catch (thrown) {
        if (!(thrown instanceof PolicyProblems)) throw thrown;
        this.#deps.log.warn('policy not readable', { policy: row.name, reason: thrown.message });
        return [];
      }
    });
  }

  async #rows(): Promise<readonly ViewRow[]> {
    const rows: ViewRow[] = [];
    for (;;) {
      const page = await this.#deps.views.list(CLAIM_KIND.policy, '', rows.at(-1)?.name ?? '', PAGE_ROWS);
      rows.push(...page);
      if (page.length < PAGE_ROWS) return rows;
    }
  }
}

/** What was in doubt before is not this edit's fault. */
function refuseWhatIsNew(before: readonly PolicyProblem[], after: readonly PolicyProblem[]): void {
  const known = new Set(before.map(problemText));
  const fresh = after.filter((problem) => !known.has(problemText(problem)));
  if (fresh.length > 0) throw new PolicyProblems(fresh);
}

function keyName(policy: Pick<PolicyDocument, 'kind' | 'name'>): string {
  return `${policy.kind}/${policy.name}`;
}

function splitName(key: string): { readonly kind: string; readonly name: string } {
  const slash = key.indexOf('/');
  return { kind: key.slice(0, Math.max(0, slash)), name: key.slice(slash + 1) };
}

function textOf(row: ViewRow): string {
  return Buffer.from(row.value).toString('utf8');
}
