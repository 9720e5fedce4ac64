/**
 * Writes `schema.json`, by which editors complete and check policies while they are written:
 * `node policies/write-schema.ts`. A test fails when the file is not what the schemas say.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jsonSchema } from './schema.ts';

writeFileSync(join(import.meta.dirname, 'schema.json'), `${JSON.stringify(jsonSchema(), undefined, 2)}\n`);
