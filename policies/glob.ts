/**
 * The globs of the policy language: `*` within one part of a name, `**` over any number of parts, `?`, `[a-z]`,
 * `[^a-z]` and `{one,other}`. `prod/**` selects everything below `prod`, and `prod` itself.
 *
 * Picomatch does the matching. It forgives nearly everything: a pattern that it reads otherwise than people mean
 * (`a**`, `[!a]`, `{1..20}`) silently selects the wrong things. Those are refused here, with what to write instead.
 */
import picomatch from 'picomatch';

export type GlobOf = 'repository' | 'tag';

/**
 * Each wildcard multiplies the steps that a non-match may take by the length of the name: on a name of 250
 * characters three cost at most 20 ms, four a second. Longer choices are written as several patterns.
 */
const WILDCARDS_MAX = 3;
const BRACES_MAX = 2;
const LENGTH_MAX = 255;

const OPTIONS = { dot: true, nonegate: true, noextglob: true, strictBrackets: true, debug: true } as const;
const CHARACTERS: Readonly<Record<GlobOf, RegExp>> = {
  repository: /^[a-z0-9._/*?{},[\]^!-]*$/,
  tag: /^[A-Za-z0-9._*?{},[\]^!-]*$/,
};

/** Why the text is no glob (without a leading `!`) for such names; `undefined` when it is one. */
export function globFault(text: string, of: GlobOf): string | undefined {
  if (text === '') return 'it is empty';
  if (text.length > LENGTH_MAX) return `it is longer than ${LENGTH_MAX} characters`;
  if (text.startsWith('/'))
    return 'it looks like a regular expression, which is not supported by this version: use a glob';
  if (!CHARACTERS[of].test(text)) return `it has a character that no ${of} name and no glob can have`;
  return pathFault(text) ?? choiceFault(text) ?? compileFault(text);
}

/** True for names that the glob matches. The glob must have no fault. */
export function compileGlob(text: string): (name: string) => boolean {
  return picomatch(text, OPTIONS);
}

function pathFault(text: string): string | undefined {
  const parts = text.split('/');
  if (parts.some((part) => part === ''))
    return 'it has an empty part: no "/" at the end, and no two in a row';
  if (parts.some((part) => part === '.' || part === '..'))
    return 'it has a part "." or "..", which no name has';
  if (parts.some((part) => part !== '**' && part.includes('**'))) {
    return '"**" must be a whole part, as in "prod/**" or "**/web"';
  }
  const wildcards = text.match(/\*+/g)?.length ?? 0;
  if (wildcards > WILDCARDS_MAX)
    return `it has ${wildcards} wildcards; at most ${WILDCARDS_MAX}: write several patterns`;
  return undefined;
}

function choiceFault(text: string): string | undefined {
  if (text.includes('[!')) return '"[!…]" is not understood: write "[^…]"';
  if (text.includes('!') || /(?<!\[)\^/.test(text)) return '"!" stands first, and "^" only after "["';
  if (/\{[^}]*\.\./.test(text)) return 'ranges in braces are not understood: list the alternatives';
  const braces = text.match(/[{}]/g) ?? [];
  if (braces.length === 0) return undefined;
  const groups = text.match(/\{[^{},]+(?:,[^{},]+)+\}/g)?.length ?? 0;
  if (groups * 2 !== braces.length)
    return 'braces need two or more alternatives, closed and not nested: "{one,other}"';
  return groups > BRACES_MAX ? `it has ${groups} choices in braces; at most ${BRACES_MAX}` : undefined;
}

function compileFault(text: string): string | undefined {
  try {
    picomatch.makeRe(text, OPTIONS);
    return undefined;
  } catch {
    return 'it has brackets that are not closed, or a range that runs backwards';
  }
}
