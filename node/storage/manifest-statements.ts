/**
 * Storing a manifest: its bytes, what it refers to, and both in its repository. Written alone by `rows-manifests.ts`
 * and beside the claims that announce it by `rows-claims.ts`. Every statement is safe to repeat.
 */
import { algorithmOf, digestOf } from '#domain/digest.ts';
import { RegistryError } from '#domain/errors.ts';
import { parseManifest } from '#domain/manifest.ts';
import type { PushedManifest } from './metadata.ts';
import { guard, type Place, prepare, run, type Store, type WriteStatement } from './statement.ts';
import type { LinkTable, ManifestReferenceTable, ManifestTable } from './tables.ts';

/**
 * The statements that store it. @throws RegistryError MANIFEST_INVALID or DIGEST_INVALID when the bytes are no
 * manifest, or not the one they are said to be: whoever they came from, they are never kept.
 */
export type ManifestStatements = (repository: string, manifest: PushedManifest) => readonly WriteStatement[];

export function prepareManifestStatements(db: Store['db']): ManifestStatements {
  const statements = {
    insert: insertManifest(db),
    link: insertLink(db),
    reference: insertReference(db),
    // Only who pushes knows what is absent, so only a push changes what an earlier one said.
    pushedReference: insertReference(db, { replaceKind: true }),
    spread: spreadReferences(db),
    requireBlob: requireBlob(db),
  };
  return (repository, { digest, mediaType, bytes, absent, isWhole = false }) => {
    const actual = digestOf(bytes, algorithmOf(digest));
    if (actual !== digest) {
      throw new RegistryError('DIGEST_INVALID', `the manifest's digest is ${actual}, not ${digest}`);
    }
    const { references } = parseManifest(bytes, mediaType);
    const reference = absent === undefined ? statements.reference : statements.pushedReference;
    const isAbsent = new Set(absent);
    const required = references
      .filter((referred) => isWhole && referred.kind === 'blob' && !isAbsent.has(referred.digest))
      .map((referred) => referred.digest);
    return [
      ...[...new Set(required)].map((blob) => guard(statements.requireBlob.bind({ digest: blob }))),
      run(statements.insert.bind({ digest, media_type: mediaType, size_bytes: bytes.byteLength, bytes })),
      run(statements.link.bind({ repository, digest })),
      ...references.map((referred, position) =>
        run(
          reference.bind({
            manifest: digest,
            position,
            kind: referred.kind === 'blob' && isAbsent.has(referred.digest) ? 'absent' : referred.kind,
            digest: referred.digest,
            size_bytes: referred.sizeBytes,
            media_type: referred.mediaType,
            platform: referred.platform ?? '',
          }),
        ),
      ),
      run(statements.spread.bind({ repository, manifest: digest })),
    ];
  };
}

/** Changes nothing, and no row when the blob is not here: whoever removes it did so before, or will see the reference. */
function requireBlob(db: Store['db']) {
  return prepare((p: Place<{ digest: string }>) =>
    db
      .updateTable('blob')
      .set((eb) => ({ source: eb.ref('source') }))
      .where('digest', '=', p('digest')),
  );
}

function insertManifest(db: Store['db']) {
  return prepare((p: Place<Omit<ManifestTable, 'id'>>) =>
    db
      .insertInto('manifest')
      .values({
        digest: p('digest'),
        media_type: p('media_type'),
        size_bytes: p('size_bytes'),
        bytes: p('bytes'),
      })
      .onConflict((conflict) => conflict.doNothing()),
  );
}

function insertLink(db: Store['db']) {
  return prepare((p: Place<LinkTable>) =>
    db
      .insertInto('manifest_link')
      .values({ repository: p('repository'), digest: p('digest') })
      .onConflict((conflict) => conflict.doNothing()),
  );
}

function insertReference(db: Store['db'], { replaceKind = false } = {}) {
  return prepare((p: Place<ManifestReferenceTable>) =>
    db
      .insertInto('manifest_reference')
      .values({
        manifest: p('manifest'),
        position: p('position'),
        kind: p('kind'),
        digest: p('digest'),
        size_bytes: p('size_bytes'),
        media_type: p('media_type'),
        platform: p('platform'),
      })
      .onConflict((conflict) =>
        replaceKind
          ? conflict.columns(['manifest', 'position']).doUpdateSet({ kind: p('kind') })
          : conflict.doNothing(),
      ),
  );
}

/** Copies a manifest's references to one repository; a digest that it names twice is there once. */
function spreadReferences(db: Store['db']) {
  return prepare((p: Place<{ repository: string; manifest: string }>) =>
    db
      .insertInto('repository_reference')
      .columns(['repository', 'kind', 'digest', 'manifest'])
      .expression((eb) =>
        eb
          .selectFrom('manifest_reference')
          .select([eb.val(p('repository')).as('repository'), 'kind', 'digest', 'manifest'])
          .where('manifest', '=', p('manifest')),
      )
      .onConflict((conflict) => conflict.doNothing()),
  );
}
