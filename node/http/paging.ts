/**
 * Paging of lists: `n` (how many), `last` (after which), and the `Link` to the next page.
 * Source: OCI distribution spec, "Listing tags"; the catalog and the referrers page alike.
 */
import { RegistryError } from '#domain/errors.ts';

/** What clients ask for most; a list without `n` must fit a client that does not follow links for a while. */
export const PAGE_DEFAULT = 1000;
/** A page of tags of this size is about 1.3 MB at most; asking for more is answered with this many and a link. */
export const PAGE_MAX = 10_000;

export type Page = { readonly limit: number; readonly after: string };

/** @throws RegistryError UNSUPPORTED (400) when `n` is no whole number. */
export function parsePage(query: URLSearchParams): Page {
  const n = query.get('n');
  const after = query.get('last') ?? '';
  if (n === null) return { limit: PAGE_DEFAULT, after };
  if (!/^\d+$/.test(n)) {
    throw new RegistryError('UNSUPPORTED', `n is "${n.slice(0, 40)}"; expected a whole number from 0`, {
      status: 400,
    });
  }
  return { limit: Math.min(Number(n), PAGE_MAX), after };
}

/** The header for the page after `last`, relative so that it works behind proxies. */
export function nextLink(
  path: string,
  page: { readonly limit: number; readonly last: string; readonly filter?: Readonly<Record<string, string>> },
): { readonly Link: string } {
  const query = new URLSearchParams({ ...page.filter, n: String(page.limit), last: page.last });
  return { Link: `<${path}?${query}>; rel="next"` };
}
