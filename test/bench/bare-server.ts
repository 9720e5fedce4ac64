/**
 * The least that Node can do: answers given paths with given headers and the bytes of a file, by `node:http` and
 * nothing else. What a registry in Node could be at best. Small files from memory, others by 256 KiB reads.
 *
 * A process of its own: `node bare-server.ts`, told what to answer over the IPC channel; it says its port.
 */
import { createReadStream, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export type BareAnswer = {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly file: string;
};

const READ_BYTES = 256 * 1024;
const IN_MEMORY_BYTES_MAX = 1024 * 1024;

process.once('message', (answers: readonly BareAnswer[]) => {
  const known = new Map(
    answers.map(({ path, headers, file }) => {
      const isSmall = statSync(file).size <= IN_MEMORY_BYTES_MAX;
      return [path, { headers, file, bytes: isSmall ? readFileSync(file) : undefined }];
    }),
  );
  const server = createServer((request, response) => {
    const answer = known.get(request.url ?? '');
    if (answer === undefined) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, answer.headers);
    if (answer.bytes !== undefined) response.end(answer.bytes);
    else createReadStream(answer.file, { highWaterMark: READ_BYTES }).pipe(response);
  });
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
});
process.once('disconnect', () => process.exit(0));
