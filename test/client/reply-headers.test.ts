/** Headers and challenges of registries, as they come in the field and as they should not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAuthChallenges } from '#client/auth-challenge.ts';
import { isInside, redirectTarget } from '#client/redirect.ts';
import {
  parseContentLength,
  parseContentRange,
  parseMediaType,
  parseRetryAfterMs,
  parseUnsatisfiedRange,
} from '#client/reply-headers.ts';
import { UnavailableError } from '#domain/errors.ts';

test('reply headers: what cannot be read is undefined', () => {
  for (const value of [
    undefined,
    '',
    'bytes 5-4/10',
    'bytes 0-10/10',
    'bytes 0-9/*',
    '0-9/10',
    'bytes -1-9/10',
  ]) {
    assert.equal(parseContentRange(value), undefined, String(value));
  }
  for (const value of [undefined, '', '-1', '1e3', '1.5', ' x'])
    assert.equal(parseContentLength(value), undefined);
  for (const value of [undefined, '', 'soon']) assert.equal(parseRetryAfterMs(value, 0), undefined);
  assert.equal(parseUnsatisfiedRange('bytes 0-1/2'), undefined);
  assert.equal(parseMediaType(''), undefined);
});

test('reply headers: ranges, lengths, types and waits', () => {
  assert.deepEqual(parseContentRange('bytes 5-9/10'), { start: 5, end: 9, totalBytes: 10 });
  assert.equal(parseUnsatisfiedRange('bytes */10'), 10);
  assert.equal(parseContentLength('42'), 42);
  assert.equal(parseMediaType('Application/JSON; charset=utf-8'), 'application/json');
  assert.equal(parseRetryAfterMs('7', 0), 7_000);
  const nowMs = Date.parse('Wed, 21 Oct 2026 07:28:00 GMT');
  assert.equal(parseRetryAfterMs('Wed, 21 Oct 2026 07:28:30 GMT', nowMs), 30_000);
  assert.equal(parseRetryAfterMs('Wed, 21 Oct 2026 07:27:00 GMT', nowMs), 0);
});

test('auth challenge: garbage gives no challenge', () => {
  for (const header of ['', ',,', '"quoted"', 'realm="x"', '\u0000']) {
    assert.deepEqual(parseAuthChallenges(header), []);
  }
});

test('auth challenge: quoted strings with commas and escapes, and several schemes', () => {
  const header =
    'Negotiate YII=, Bearer realm="https://auth.test/token?a=b,c",service="the \\"registry\\"",' +
    'scope="repository:a/b:pull,push" , error=insufficient_scope, basic REALM = "x y"';
  const [negotiate, bearer, basic, ...rest] = parseAuthChallenges(header).filter(
    ({ scheme }) => scheme !== 'yii',
  );
  assert.equal(negotiate?.scheme, 'negotiate');
  assert.deepEqual(bearer, {
    scheme: 'bearer',
    parameters: {
      realm: 'https://auth.test/token?a=b,c',
      service: 'the "registry"',
      scope: 'repository:a/b:pull,push',
      error: 'insufficient_scope',
    },
  });
  assert.deepEqual(basic, { scheme: 'basic', parameters: { realm: 'x y' } });
  assert.deepEqual(rest, []);
});

test('redirect: not from TLS to none, not into a private network, not to nowhere', () => {
  const from = new URL('https://registry.example.com/v2/');
  for (const location of [
    undefined,
    'http://cdn.example.com/x',
    'ftp://cdn.example.com/x',
    'https://127.0.0.1/x',
    'https://10.1.2.3/x',
    'https://169.254.169.254/latest/meta-data',
    'https://[::1]/x',
    'https://[fd00::1]/x',
    'https://[::ffff:10.0.0.1]/x',
    'https://localhost/x',
    'https://:0:bad',
  ]) {
    assert.throws(() => redirectTarget(from, location), UnavailableError, location);
  }
});

test('redirect: to another public host, a relative path, or within a private network', () => {
  const from = new URL('https://registry.example.com/v2/a');
  assert.equal(redirectTarget(from, 'https://cdn.example.com/x').href, 'https://cdn.example.com/x');
  assert.equal(redirectTarget(from, '../b').href, 'https://registry.example.com/b');
  const inside = new URL('http://10.0.0.1:5000/');
  assert.equal(redirectTarget(inside, 'http://10.0.0.2/x').href, 'http://10.0.0.2/x');
  assert.equal(isInside('8.8.8.8'), false);
});
