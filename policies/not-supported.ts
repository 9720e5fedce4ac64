/**
 * Words of the policy language that this version does not know what to do with. They are refused by name, because
 * "unknown key" would send people looking for a spelling mistake, and ignoring them would break a promise.
 */
import type { PolicyKind } from './model.ts';

const KINDS: ReadonlySet<string> = new Set([
  'RegionSet',
  'ResidencyPolicy',
  'SyncPolicy',
  'WritePolicy',
  'PreheatProvider',
  'PreheatPolicy',
  'RetentionPolicy',
  'Quota',
  'AccessPolicy',
]);

const ANY_KIND = ['metadata.managedBy', 'spec.rollout', 'spec.suspend'];
const KEYS: Readonly<Record<PolicyKind, ReadonlySet<string>>> = {
  ReplicationPolicy: new Set([
    ...ANY_KIND,
    'spec.copies',
    'spec.evictable',
    'spec.limits',
    'spec.order',
    'spec.window',
    'spec.select.platforms',
    'spec.select.size',
    'spec.select.artifactType',
    'spec.select.signedBy',
    'spec.select.newest',
    'spec.select.semver',
    'spec.select.age',
    'spec.select.labels',
  ]),
  ProxyCache: new Set([
    ...ANY_KIND,
    'spec.serve.hosts',
    'spec.freshness.never',
    'spec.keep.pin',
    'spec.select',
  ]),
  UpstreamRegistry: new Set([
    ...ANY_KIND,
    'spec.limits',
    'spec.credentials.secretRef',
    'spec.credentials.username.secretRef',
    'spec.credentials.password.secretRef',
  ]),
};

export function isKindOfLaterVersion(kind: string): boolean {
  return KINDS.has(kind);
}

/** `path` with dots, as people write it: `spec.limits`. */
export function isKeyOfLaterVersion(kind: PolicyKind, path: string): boolean {
  return KEYS[kind].has(path);
}
