/**
 * The production core, broken on purpose: what a simulation does not notice, it does not test. A mutation replaces
 * exact statements of `mesh/claims` in the moment in which Node loads them; it fails loudly when a statement is not
 * there exactly once, so that a mutation never turns into a run of the healthy core.
 *
 * It must be in place before the core is imported, and stays for the whole process.
 */
import assert from 'node:assert/strict';
import { registerHooks } from 'node:module';

type Edit = {
  /** Below `mesh/claims/`. */
  readonly file: string;
  readonly find: string;
  readonly put: string;
};
type Mutation = { readonly about: string; readonly edits: readonly Edit[] };

export const MUTATIONS = {
  'ack-before-commit': {
    about: 'a write is answered when its commit is asked for, not when it is durable',
    edits: [
      {
        file: 'writes.ts',
        find: '    this.#state.commit(\n      plan.batch,',
        put:
          '    const sequence = this.#state.own.have + plan.batch.own.length;\n' +
          "    this.#state.emit({ output: 'written', id: write.input.id, dot: { ...this.#headDot(), sequence } });\n" +
          '    this.#state.commit(\n      plan.batch,',
      },
    ],
  },
  'lww-deletes': {
    about: 'the latest claim wins, also when it is a delete that did not see the others',
    edits: [
      {
        file: 'claim-view.ts',
        find: "uncovered.filter((claim) => claim.state === 'live')",
        put: "uncovered.filter((claim) => claim.state === 'live' && uncovered.at(-1)?.state === 'live')",
      },
    ],
  },
  'cursors-without-claims': {
    about: 'the cursor of an origin rises, but its claims are not stored with it',
    edits: [{ file: 'apply.ts', find: 'foreign: applied.foreign,', put: 'foreign: [],' }],
  },
  'drop-context': {
    about: 'claims do not say what they have seen',
    edits: [{ file: 'changes.ts', find: 'context: found.context,', put: 'context: [],' }],
  },
  'no-look': {
    about: 'what a look at the other regions found is not seen by the write',
    edits: [
      {
        file: 'changes.ts',
        find: 'newestOf([...dotsOf(stored), ...refused, ...dots])',
        put: 'newestOf([...dotsOf(stored), ...refused])',
      },
    ],
  },
  'no-epoch': {
    about: 'a region that was set back goes on in its old epoch',
    edits: [
      { file: 'mark-verdict.ts', find: 'if (found.isNew) return', put: 'if (mark !== null) return' },
      {
        file: 'epochs.ts',
        find: 'if (cursor !== undefined) this.#heard = Math.max(this.#heard, cursor.have);',
        put: '',
      },
    ],
  },
  'no-grant': {
    about: 'what a region was not granted counts like everything else',
    edits: [
      {
        file: 'granted.ts',
        find: 'return grants?.of(claim.dot.region)?.mayWrite(claim) ?? true;',
        put: 'return claim.dot.sequence > 0 || grants === undefined;',
      },
    ],
  },
  'no-follow-retry': {
    about: 'what is missing is asked for once, and never again',
    edits: [{ file: 'claims-core.ts', find: '    this.#askForMissing();\n', put: '' }],
  },
} as const satisfies Record<string, Mutation>;
export type MutationName = keyof typeof MUTATIONS;

export function isMutationName(text: string): text is MutationName {
  return Object.hasOwn(MUTATIONS, text);
}

/** From now on the core is loaded with the mutation. */
export function mutateOnLoad(name: MutationName): void {
  const edits: readonly Edit[] = MUTATIONS[name].edits;
  registerHooks({
    load(url, context, nextLoad) {
      const loaded = nextLoad(url, context);
      const mine = edits.filter((edit) => url.endsWith(`/mesh/claims/${edit.file}`));
      if (mine.length === 0) return loaded;
      assert.ok(loaded.source !== undefined && loaded.source !== null, `${url} has no source to mutate`);
      const source =
        typeof loaded.source === 'string' ? loaded.source : new TextDecoder().decode(loaded.source);
      return { ...loaded, source: mine.reduce(mutated, source) };
    },
  });
}

/** @throws when the statement does not stand in the source exactly once. */
export function mutated(source: string, { file, find, put }: Edit): string {
  const found = source.split(find).length - 1;
  assert.equal(found, 1, `mesh/claims/${file} has the statement to mutate ${found} times: ${find}`);
  return source.replace(find, () => put);
}
