/**
 * What one caller may do with repositories, as it was established when the request came in. It goes along in the
 * request's context, so that a decision deep inside (may this blob be mounted from there?) is the same one that the
 * door would make.
 */
import type { RepositoryName } from './name.ts';

export const ACTIONS = ['pull', 'push', 'delete'] as const;
export type Action = (typeof ACTIONS)[number];

export interface Permit {
  allows(repository: RepositoryName, action: Action): boolean;
}

/** For a registry that has no accounts. */
export const EVERYTHING: Permit = { allows: () => true };
