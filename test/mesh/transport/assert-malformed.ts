/** Asserts that bytes of a peer are refused as they must be: by the one error that says so, with its reason. */
import assert from 'node:assert/strict';
import { MalformedMessageError } from '#mesh/transport/wire.ts';

export function assertMalformed(parse: () => unknown, message: RegExp): void {
  assert.throws(parse, (thrown) => {
    assert.ok(thrown instanceof MalformedMessageError, `${thrown}`);
    assert.match(thrown.message, message);
    return true;
  });
}
