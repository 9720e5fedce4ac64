/**
 * The access rooms of one or two regions over real databases and the real index, whose links are cut and healed at
 * will. Secrets cost next to nothing here; time, as far as access looks at it, is moved by the test.
 */
import { setImmediate } from 'node:timers/promises';
import { AccountBook } from '#access/account-book.ts';
import { AccountEditor } from '#access/account-editor.ts';
import { Gate } from '#access/gate.ts';
import { KeyBook } from '#access/key-book.ts';
import { type KdfCost, SecretHasher } from '#access/secret-hash.ts';
import { SignIn, type SignInConfig } from '#access/sign-in.ts';
import { openSigningKey, type SigningKey } from '#access/signing-key.ts';
import { Tokens } from '#access/tokens.ts';
import type { IndexChange } from '#content/claim-writer.ts';
import { CLAIM_KIND } from '#domain/claim-kind.ts';
import { mintEpoch, parseRegionNumber, type RegionNumber } from '#domain/region.ts';
import type { RequestContext } from '#domain/request-context.ts';
import { resolveStored } from '#mesh/claims/claim-view.ts';
import { DEFAULT_CLAIMS_CONFIG } from '#mesh/claims/core-state.ts';
import { ClaimsDriver } from '#mesh/claims/driver.ts';
import { type MemoryMesh, memoryMesh } from '#mesh/transport/transport-memory.ts';
import { systemClock } from '#runtime/clock.ts';
import { type Log, silentLog } from '#runtime/log.ts';
import { Registry } from '#runtime/metrics.ts';
import { systemRandom } from '#runtime/random.ts';
import type { Metadata } from '#storage/metadata.ts';
import { type LogLine, recordingLog } from '#test/http/registry-under-test.ts';
import { ManualClock } from '#test/mesh/replication/manual-clock.ts';
import { openTemporaryMetadata, temporaryFolder } from '#test/storage/temporary.ts';

export const CHEAP: KdfCost = { memoryKib: 8, passes: 1, parallelism: 1 };
/** Tests that wait for something try often; those about guessing say their own limits. */
const PATIENT: SignInConfig = {
  cost: CHEAP,
  perAccount: { free: 1_000_000, baseMs: 1, maxMs: 1 },
  perAddress: { free: 1_000_000, baseMs: 1, maxMs: 1 },
};
export const MESH_ID = 'mesh-under-test';

export type RegionOfRig = {
  readonly number: RegionNumber;
  readonly metadata: Metadata;
  readonly book: AccountBook;
  readonly editor: AccountEditor;
  readonly keys: KeyBook;
  readonly key: SigningKey;
  readonly tokens: Tokens;
  readonly signIn: SignIn;
  readonly gate: Gate;
  readonly log: Log;
  write(...changes: readonly IndexChange[]): Promise<void>;
};

export type AccessRig = AsyncDisposable & {
  readonly clock: ManualClock;
  readonly lines: readonly LogLine[];
  readonly one: RegionOfRig;
  readonly two: RegionOfRig;
  /** Cuts both ways between the regions. */
  cut(): void;
  heal(): void;
};

export type AccessRigConfig = { readonly signIn?: SignInConfig; readonly openWithoutAccounts?: boolean };

export function contextOf(principal = 'administrator'): RequestContext {
  return { requestId: 'request-1', principal, signal: AbortSignal.any([]) };
}

export async function openAccessRig(config: AccessRigConfig = {}): Promise<AccessRig> {
  await using stack = new AsyncDisposableStack();
  const clock = new ManualClock();
  const lines: LogLine[] = [];
  const mesh = memoryMesh([1, 2]);
  const open = (number: number) => openRegion({ stack, clock, lines, mesh, config }, number);
  const [one, two] = [await open(1), await open(2)];
  for (const region of [one, two]) region.keys.announce(region.key);
  const owned = stack.move();
  return {
    ...{ clock, lines, one, two },
    cut: () => {
      mesh.cut(1, 2);
      mesh.cut(2, 1);
    },
    heal: () => {
      mesh.heal(1, 2);
      mesh.heal(2, 1);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

type Shared = {
  readonly stack: AsyncDisposableStack;
  readonly clock: ManualClock;
  readonly lines: LogLine[];
  readonly mesh: MemoryMesh;
  readonly config: AccessRigConfig;
};

async function openRegion(shared: Shared, number: number): Promise<RegionOfRig> {
  const { stack, clock, config } = shared;
  const log = recordingLog(shared.lines);
  const self = parseRegionNumber(number);
  const metadata = stack.use(await openTemporaryMetadata(number));
  const claims = await openIndex(shared, self, metadata);
  const onChanged: ClaimsDriver['onChanged'] = (listener) => claims.onChanged(listener);
  const write = async (change: IndexChange, { principal, signal }: RequestContext) => {
    await claims.write([change], { principal, signal });
  };
  const folder = stack.use(await temporaryFolder());
  const seams = { views: metadata.views, onChanged, clock, random: systemRandom, log };
  const key = await openSigningKey(seams, { folder: folder.path, region: self });
  const keys = stack.use(
    new KeyBook({
      ...seams,
      isMember: (region) => region <= 2,
      write: (name, document) => write({ change: 'set-key', name, document }, contextOf('fairway')),
    }),
  );
  const book = stack.use(
    new AccountBook({
      ...seams,
      rivals: async (name) => {
        const [stored] = await metadata.claims.ofKeys([{ kind: CLAIM_KIND.account, repository: '', name }]);
        return resolveStored(stored?.claims ?? []).losers.map((claim) => claim.value);
      },
    }),
  );
  const hasher = new SecretHasher();
  const writer = {
    write: (change: Parameters<AccountEditorWrite>[0], context: RequestContext) =>
      write({ change: 'set-account', ...change }, context),
  };
  const editor = new AccountEditor({ ...seams, book, hasher, writer }, { cost: CHEAP });
  const signIn = new SignIn({ ...seams, accounts: book, hasher }, { ...PATIENT, ...config.signIn });
  const tokens = new Tokens({ ...seams, key, keys }, { meshId: MESH_ID, region: `region-${number}` });
  const { openWithoutAccounts = true } = config;
  const gate = new Gate({ accounts: book, signIn, tokens, clock }, { openWithoutAccounts });
  return {
    ...{ number: self, metadata, book, editor, keys, key, tokens, signIn, gate, log },
    write: async (...changes) => {
      await claims.write(changes, contextOf());
    },
  };
}

type AccountEditorWrite = ConstructorParameters<typeof AccountEditor>[0]['writer']['write'];

async function openIndex(
  { stack, mesh }: Shared,
  self: RegionNumber,
  metadata: Metadata,
): Promise<ClaimsDriver> {
  const transport = stack.use(mesh.transport(self));
  const claims = stack.use(
    await ClaimsDriver.open(
      {
        ...{ claims: metadata.claims, manifests: metadata.manifests, transport, clock: systemClock },
        ...{
          log: silentLog,
          metrics: new Registry(),
          mintEpoch: () => mintEpoch(systemClock.nowMs(), 0),
          nameOf: (number) => `region-${number}`,
        },
      },
      {
        ...DEFAULT_CLAIMS_CONFIG,
        verdict: 'trusted',
        self,
        peers: [1, 2].filter((peer) => peer !== self).map(parseRegionNumber),
      },
    ),
  );
  await transport.start({
    received: (from, message) => claims.received(from, message),
    linkUp: (peer) => claims.linkUp(peer),
    linkDown: (peer) => claims.linkDown(peer),
    locate: async (_from, request) => await claims.locate(request),
    holdings: async () => ({ holdings: [] }),
  });
  return claims;
}

/** Waits for what the index brings by itself. */
export async function until(holds: () => Promise<boolean>): Promise<void> {
  const tooLate = AbortSignal.timeout(20_000);
  while (!(await holds())) {
    tooLate.throwIfAborted();
    await setImmediate();
  }
}
