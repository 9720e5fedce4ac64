/**
 * The management API: liveness, readiness and metrics for whoever asks, and what an administrator sees and changes,
 * with the node's bearer token. JSON in, JSON out; the OpenAPI document is at `/api/v1/openapi.json`.
 *
 * It is for people, the command line and scrapers, a few requests a second: fastify and zod do the work.
 */
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import type { AdminToken } from '#access/admin-token.ts';
import { UnavailableError } from '#domain/errors.ts';
import { parseReference, parseRepositoryName, parseTag, referenceText } from '#domain/name.ts';
import type { RequestContext } from '#domain/request-context.ts';
import type { Trace } from '#domain/trace.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Log } from '#runtime/log.ts';
import type { Registry } from '#runtime/metrics.ts';
import type { Random } from '#runtime/random.ts';
import type { TaskRows } from '#storage/metadata.ts';
import { createServer, type ListenConfig, type Listening, listen } from './listener.ts';
import { type AccountAdmin, addAccountRoutes } from './management-accounts.ts';
import { addConflictRoutes } from './management-conflicts.ts';
import { failureReply } from './management-errors.ts';
import { addGarbageRoutes, type GarbageView } from './management-gc.ts';
import { openApiDocument } from './management-openapi.ts';
import {
  applyQuery,
  imageQuery,
  logQuery,
  policyParameters,
  TASK_STATES,
  taskQuery,
} from './management-schemas.ts';
import { RequestIds } from './request-ids.ts';
import { Traces } from './traces.ts';
import type { ChangeLog, ConflictBook, Health, MeshView, PolicyBook } from './views.ts';

export type ManagementServerDeps = {
  readonly mesh: MeshView;
  readonly policies: PolicyBook;
  readonly conflicts: ConflictBook;
  readonly tasks: Pick<TaskRows, 'list'>;
  readonly accounts: AccountAdmin;
  readonly changes: ChangeLog;
  readonly garbage: GarbageView;
  readonly adminToken: AdminToken;
  readonly health: Health;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Registry;
};

/** Sixteen of the largest policies (64 KiB each) in one file; more is 413. */
const BODY_BYTES_MAX = 1024 * 1024;
const BEARER = /^Bearer +([A-Za-z0-9_-]{1,512})$/i;

/** Serves until it is disposed. Rejects with the system's error when it cannot listen. */
export async function openManagementServer(
  deps: ManagementServerDeps,
  config: ListenConfig,
): Promise<Listening> {
  const ids = new RequestIds(deps.random);
  const traces = new Traces(deps.random);
  const stopped = new AbortController();
  const app = fastify({
    serverFactory: (handler) => createServer(handler, config, deps.log),
    // Listened to by `createServer`; fastify's own listener must not answer as well.
    clientErrorHandler: () => undefined,
    bodyLimit: BODY_BYTES_MAX,
    genReqId: (request) => ids.of(request.headers['fairway-request-id']),
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    frameworkErrors: (error, request, reply) => fail(deps, error, { request, reply }),
  });
  app.addHook('onRequest', async (request, reply) => {
    reply.header('Fairway-Request-Id', request.id).header('X-Content-Type-Options', 'nosniff');
  });
  app.setErrorHandler((error, request, reply) => fail(deps, error, { request, reply }));
  app.setNotFoundHandler((request, reply) => {
    const message = `${request.method} ${request.url.slice(0, 200)} is not part of this API`;
    return reply.code(404).send({ error: { code: 'NOT_FOUND', message } });
  });
  addOpenRoutes(app, deps);
  await app.register(async (api) => {
    addGuard(api, deps);
    addRoutes(api, deps, (request, reply) =>
      contextOf(request, reply, {
        stopped: stopped.signal,
        trace: traces.of(request.headers['traceparent']),
      }),
    );
  });
  const stop = () => stopped.abort(new UnavailableError('this node is stopping'));
  return await listen(app, config, { clock: deps.clock, stopping: () => undefined, abort: stop });
}

function addOpenRoutes(app: FastifyInstance, deps: ManagementServerDeps): void {
  const document = openApiDocument();
  const state = (reply: FastifyReply, reasons: readonly string[]) =>
    reply.code(reasons.length === 0 ? 200 : 503).send({ ok: reasons.length === 0, reasons });
  app.get('/livez', (_request, reply) => state(reply, deps.health.live()));
  app.get('/readyz', (_request, reply) => state(reply, deps.health.ready()));
  app.get('/metrics', async (_request, reply) => {
    const text = await deps.metrics.metrics();
    return reply.header('Content-Type', deps.metrics.contentType).send(text);
  });
  app.get('/api/v1/openapi.json', (_request, reply) => reply.send(document));
}

function addGuard(api: FastifyInstance, deps: ManagementServerDeps): void {
  api.addHook('onRequest', async (request, reply) => {
    const token = BEARER.exec(request.headers.authorization ?? '')?.[1];
    if (token !== undefined && deps.adminToken.matches(token)) return;
    const message = 'the administrator token is needed: Authorization: Bearer <contents of admin.token>';
    await reply
      .code(401)
      .header('WWW-Authenticate', 'Bearer realm="fairway management"')
      .send({ error: { code: 'UNAUTHORIZED', message } });
  });
}

function addRoutes(
  api: FastifyInstance,
  deps: ManagementServerDeps,
  contextFor: (request: FastifyRequest, reply: FastifyReply) => RequestContext,
): void {
  api.removeAllContentTypeParsers();
  api.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body));
  api.get('/api/v1/status', (request, reply) => deps.mesh.status(contextFor(request, reply)));
  api.get('/api/v1/images', (request, reply) => {
    const { repository, reference } = parseImageName(imageQuery.parse(request.query).name);
    return deps.mesh.image(repository, reference, contextFor(request, reply));
  });
  api.get('/api/v1/policies', async () => ({ policies: await deps.policies.list() }));
  api.post('/api/v1/policies', async (request, reply) => {
    const { file } = applyQuery.parse(request.query);
    const text = typeof request.body === 'string' ? request.body : '';
    return { applied: await deps.policies.apply(text, file, contextFor(request, reply)) };
  });
  api.delete('/api/v1/policies/:name', async (request, reply) => {
    const { name } = policyParameters.parse(request.params);
    if (await deps.policies.remove(name, contextFor(request, reply))) return await reply.code(204).send();
    return await reply
      .code(404)
      .send({ error: { code: 'NOT_FOUND', message: `no policy is named ${name}` } });
  });
  addAccountRoutes(api, deps.accounts, contextFor);
  addGarbageRoutes(api, deps.garbage);
  api.get('/api/v1/log', (request, reply) =>
    deps.changes.read(logQuery.parse(request.query), contextFor(request, reply)),
  );
  addConflictRoutes(api, deps, contextFor);
  api.get('/api/v1/tasks', async (request) => {
    const { state, limit } = taskQuery.parse(request.query);
    const unfinished = TASK_STATES.filter((candidate) => candidate !== 'done');
    const states = typeof state === 'string' ? [state] : (state ?? unfinished);
    return { tasks: await deps.tasks.list({ states, limit }) };
  });
}

/** `repository`, `repository:tag` or `repository@digest`. @throws RegistryError as the registry would. */
function parseImageName(name: string): { readonly repository: string; readonly reference: string } {
  const [named = '', digest] = name.split('@', 2);
  const colon = named.lastIndexOf(':');
  const repository = parseRepositoryName(colon === -1 ? named : named.slice(0, colon));
  if (digest !== undefined) return { repository, reference: referenceText(parseReference(digest)) };
  return { repository, reference: colon === -1 ? 'latest' : parseTag(named.slice(colon + 1)) };
}

function contextOf(
  request: FastifyRequest,
  reply: FastifyReply,
  { stopped, trace }: { readonly stopped: AbortSignal; readonly trace: Trace },
): RequestContext {
  const left = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) left.abort(new Error('the client has gone'));
  });
  return {
    requestId: request.id,
    trace,
    principal: 'administrator',
    signal: AbortSignal.any([left.signal, stopped]),
  };
}

function fail(
  deps: ManagementServerDeps,
  thrown: unknown,
  { request, reply }: { readonly request: FastifyRequest; readonly reply: FastifyReply },
): void {
  const { status, body, headers, isOurFault } = failureReply(thrown, request.id);
  if (isOurFault) {
    const [path = ''] = request.url.split('?', 1);
    deps.log.error('management request failed', { requestId: request.id, path, err: thrown });
  }
  void reply.code(status).headers(headers).send(body);
}
