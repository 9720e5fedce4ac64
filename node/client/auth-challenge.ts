/**
 * `WWW-Authenticate`, parsed: several schemes in one line, and parameters that are quoted or not, in any order.
 *
 * Source: RFC 9110, section 11.6.1. Limit: a scheme with a bare credential (`Negotiate YII=`) gives a challenge with
 * a parameter of no meaning; nothing here uses such schemes.
 */

/** Scheme and parameter names in lower case. */
export type AuthChallenge = {
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
};

const TOKEN = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const QUOTED = /"((?:[^"\\]|\\.)*)"/y;
const SEPARATORS = /[\s,]*/y;
const EQUALS = /\s*=\s*/y;

/** Ends quietly at the first thing that cannot be read; what stood before it is kept. */
export function parseAuthChallenges(header: string): readonly AuthChallenge[] {
  const found: { scheme: string; parameters: Record<string, string> }[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(header) ?? undefined;
    if (match !== undefined) at = pattern.lastIndex;
    return match;
  };
  for (;;) {
    take(SEPARATORS);
    const word = take(TOKEN)?.[0].toLowerCase();
    if (word === undefined) return found;
    if (take(EQUALS) === undefined) {
      found.push({ scheme: word, parameters: {} });
      continue;
    }
    const quoted = take(QUOTED)?.[1]?.replaceAll(/\\(.)/g, '$1');
    const value = quoted ?? take(TOKEN)?.[0] ?? '';
    const current = found.at(-1);
    if (current === undefined) return found;
    current.parameters[word] = value;
  }
}
