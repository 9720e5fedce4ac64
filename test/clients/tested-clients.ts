/**
 * The clients that are tested, and their versions: Debian's as Debian has them, and those that Go installs, fixed
 * here. The table of docs/clients.md says the same; `versions.test.ts` compares both with what is on the machine.
 */
export type TestedClient = {
  readonly name: string;
  /** Of Debian 12: its first two numbers. Of Go: the version that is installed. */
  readonly version: string;
  /** What prints the version, and where it stands there. */
  readonly prints: { readonly command: readonly [string, ...string[]]; readonly pattern: RegExp };
  /** The package that Go installs, at `v<version>`. */
  readonly goPackage?: string;
};

const VERSION = /version (\d+(?:\.\d+)+)/;

export const TESTED_CLIENTS: readonly TestedClient[] = [
  { name: 'docker', version: '20.10', prints: { command: ['dockerd', '--version'], pattern: VERSION } },
  {
    name: 'containerd',
    version: '1.6',
    prints: { command: ['ctr', '--version'], pattern: /containerd (\d+(?:\.\d+)+)/ },
  },
  { name: 'podman', version: '4.3', prints: { command: ['podman', '--version'], pattern: VERSION } },
  { name: 'buildah', version: '1.28', prints: { command: ['buildah', '--version'], pattern: VERSION } },
  { name: 'skopeo', version: '1.9', prints: { command: ['skopeo', '--version'], pattern: VERSION } },
  {
    name: 'crane',
    version: '0.22.1',
    prints: { command: ['crane', 'version'], pattern: /v(\d+(?:\.\d+)+)/ },
    goPackage: 'github.com/google/go-containerregistry/cmd/crane',
  },
  {
    name: 'regctl',
    version: '0.11.7',
    prints: { command: ['regctl', 'version'], pattern: /v(\d+(?:\.\d+)+)/ },
    goPackage: 'github.com/regclient/regclient/cmd/regctl',
  },
  {
    name: 'helm',
    version: '3.22.0',
    // It knows its first two numbers only when Go has built it.
    prints: { command: ['helm', 'version', '--short'], pattern: /v(\d+(?:\.\d+)+)/ },
    goPackage: 'helm.sh/helm/v3/cmd/helm',
  },
  {
    name: 'cosign',
    version: '3.1.3',
    prints: { command: ['cosign', 'version'], pattern: /v(\d+(?:\.\d+)+)/ },
    goPackage: 'github.com/sigstore/cosign/v3/cmd/cosign',
  },
];

/** Why no test runs with it although it is a client that people use. */
export const UNTESTED_CLIENTS = [
  {
    name: 'oras',
    version: '1.3.0',
    reason:
      'reading https://proxy.golang.org/sumdb/sum.golang.org/lookup/oras.land/oras@v1.3.0: 404 Not Found',
  },
] as const;
