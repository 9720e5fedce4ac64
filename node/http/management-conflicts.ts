/** The part of the management API about tags in conflict: a list, one of them, and its end. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { parseRepositoryName, parseTag } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import { conflictChoice, conflictQuery } from './management-schemas.ts';
import type { ConflictBook, TagName } from './views.ts';

export function addConflictRoutes(
  api: FastifyInstance,
  { conflicts }: { readonly conflicts: ConflictBook },
  contextFor: (request: FastifyRequest, reply: FastifyReply) => RequestContext,
): void {
  api.get('/api/v1/conflicts', async (request) => {
    const { name, after, limit } = conflictQuery.parse(request.query);
    if (name !== undefined) {
      const conflict = await conflicts.find(parseTagName(name));
      return { conflicts: conflict === undefined ? [] : [conflict] };
    }
    const start = after === undefined ? { repository: '', tag: '' } : parseTagName(after);
    const { next, ...page } = await conflicts.list(start, limit);
    return next === undefined ? page : { ...page, next: `${next.repository}:${next.tag}` };
  });
  api.post('/api/v1/conflicts/resolve', async (request, reply) => {
    const { name, to } = conflictChoice.parse(parseBody(request.body));
    const resolved = await conflicts.resolve({ ...parseTagName(name), to }, contextFor(request, reply));
    if (resolved !== undefined) return resolved;
    return await reply.code(404).send({ error: { code: 'NOT_FOUND', message: `${name} is in no conflict` } });
  });
}

/** `repository:tag`. @throws RegistryError as the registry would. */
function parseTagName(name: string): TagName {
  const colon = name.lastIndexOf(':');
  const [repository, tag] = colon === -1 ? [name, ''] : [name.slice(0, colon), name.slice(colon + 1)];
  return { repository: parseRepositoryName(repository), tag: parseTag(tag) };
}

/** What is no JSON is refused like JSON of another shape. */
function parseBody(body: unknown): unknown {
  try {
    return JSON.parse(typeof body === 'string' ? body : '');
  } catch {
    throw new z.ZodError([{ code: 'custom', path: ['body'], message: 'is no JSON', input: undefined }]);
  }
}
