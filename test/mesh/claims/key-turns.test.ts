/** Turns per key: first come, first served, and several keys at once without waiting for each other for ever. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { keyText } from '#mesh/claims/key-text.ts';
import { KeyTurns } from '#mesh/claims/key-turns.ts';

test('turns: ending one twice is an error of ours', () => {
  const turns = new KeyTurns();
  let end: () => void = () => assert.fail('it was never started');
  turns.take(['a'], (done) => {
    end = done;
  });
  end();
  assert.throws(end, /ended twice/);
});

test('turns: work on other keys does not wait', () => {
  const turns = new KeyTurns();
  const started: string[] = [];
  turns.take(['a'], () => started.push('a'));
  turns.take(['a', 'b'], () => started.push('ab'));
  turns.take(['c'], () => started.push('c'));
  turns.take([], () => started.push('none'));
  assert.deepEqual(started, ['a', 'c', 'none']);
});

test('turns: all work is done, each key by one at a time and in the order of arrival', () => {
  const anyKeys = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 4 });
  fc.assert(
    fc.property(fc.array(anyKeys, { maxLength: 20 }), fc.infiniteStream(fc.nat()), (works, chance) => {
      const turns = new KeyTurns();
      const running: { readonly work: number; readonly done: () => void }[] = [];
      const ended: number[] = [];
      for (const [work, keys] of works.entries()) {
        turns.take(keys, (done) => {
          const others = running.map((other) => works[other.work] ?? []);
          assert.ok(!others.flat().some((key) => keys.includes(key)), 'two have the same key');
          running.push({ work, done });
        });
      }
      while (running.length > 0) {
        const [next] = running.splice(chance.next().value % running.length, 1);
        assert.ok(next !== undefined);
        ended.push(next.work);
        next.done();
      }
      assert.equal(ended.length, works.length);
      for (const key of ['a', 'b', 'c', 'd'] as const) {
        const order = ended.filter((work) => works[work]?.includes(key));
        assert.deepEqual(
          order,
          order.toSorted((a, b) => a - b),
        );
      }
    }),
  );
});

test('turns: keys that look alike when joined have different texts', () => {
  const texts = [
    { kind: 1, repository: 'a', name: 'b/c' },
    { kind: 1, repository: 'a/b', name: 'c' },
    { kind: 1, repository: '', name: 'a' },
    { kind: 1, repository: 'a', name: '' },
    { kind: 11, repository: '', name: 'a' },
    { kind: 1, repository: '1', name: '.a' },
  ].map(keyText);
  assert.equal(new Set(texts).size, texts.length);
});
