/**
 * The management API as an OpenAPI 3.1 document, made from the schemas that the server validates with.
 * Source: OpenAPI Specification 3.1, whose schemas are JSON Schema 2020-12.
 */
import { z } from 'zod';
import {
  accountAnswer,
  accountChange,
  accountDraft,
  accountList,
  accountParameters,
  accountRotation,
  accountWithSecret,
} from './management-accounts.ts';
import { gcQuery, gcRuns, gcStarted } from './management-gc.ts';
import {
  appliedList,
  applyQuery,
  changePage,
  conflictChoice,
  conflictList,
  conflictQuery,
  failure,
  imageQuery,
  imageStatus,
  logQuery,
  meshStatus,
  policyList,
  policyParameters,
  resolvedConflict,
  taskList,
  taskQuery,
} from './management-schemas.ts';

type Json = Readonly<Record<string, unknown>>;

export function openApiDocument(): Json {
  return {
    openapi: '3.1.0',
    info: { title: 'Fairway management API', version: 'v1' },
    security: [{ administrator: [] }],
    components: { securitySchemes: { administrator: { type: 'http', scheme: 'bearer' } } },
    paths: {
      '/api/v1/status': {
        get: operation('What this region knows of the mesh.', { answer: meshStatus }),
      },
      '/api/v1/images': {
        get: operation('How much of an image each region has.', { query: imageQuery, answer: imageStatus }),
      },
      '/api/v1/policies': {
        get: operation('The policies in force.', { answer: policyList }),
        post: {
          ...operation('Applies every document of a YAML text, all or none.', {
            query: applyQuery,
            answer: appliedList,
          }),
          requestBody: { required: true, content: { 'application/yaml': { schema: { type: 'string' } } } },
        },
      },
      '/api/v1/policies/{name}': {
        delete: operation('Ends a policy everywhere.', { path: policyParameters }),
      },
      '/api/v1/accounts': {
        get: operation('All accounts, without their secrets.', { answer: accountList }),
        post: operation('Makes an account.', { body: accountDraft, answer: accountWithSecret, done: 201 }),
      },
      '/api/v1/accounts/{name}': {
        patch: operation('Changes rights, expiry, or whether it is disabled; its secrets stay.', {
          path: accountParameters,
          body: accountChange,
          answer: accountAnswer,
        }),
      },
      '/api/v1/accounts/{name}/rotate': {
        post: operation('Gives it another secret; the one before it ends at once or after a while.', {
          path: accountParameters,
          body: accountRotation,
          answer: accountWithSecret,
        }),
      },
      '/api/v1/log': {
        get: operation('Who changed what, where and when, the newest first.', {
          query: logQuery,
          answer: changePage,
        }),
      },
      '/api/v1/gc': {
        get: operation('The newest runs of garbage collection, a real and a dry one.', { answer: gcRuns }),
        post: operation('Begins a run of garbage collection, or names the one that goes on.', {
          query: gcQuery,
          answer: gcStarted,
          done: 202,
        }),
      },
      '/api/v1/conflicts': {
        get: operation('Tags that two regions moved without seeing each other.', {
          query: conflictQuery,
          answer: conflictList,
        }),
      },
      '/api/v1/conflicts/resolve': {
        post: {
          ...operation('Ends a conflict in every region, to one of its sides.', { answer: resolvedConflict }),
          requestBody: { required: true, content: content(conflictChoice) },
        },
      },
      '/api/v1/tasks': {
        get: operation('Replication tasks of this region.', { query: taskQuery, answer: taskList }),
      },
    },
  };
}

function operation(
  summary: string,
  shapes: {
    readonly query?: z.ZodObject;
    readonly path?: z.ZodObject;
    readonly body?: z.ZodType;
    readonly answer?: z.ZodType;
    /** The status when it has an answer. Default 200. */
    readonly done?: number;
  },
): Json {
  const done =
    shapes.answer === undefined
      ? { 204: { description: 'Done.' } }
      : { [shapes.done ?? 200]: { description: 'Done.', content: content(shapes.answer) } };
  return {
    summary,
    parameters: [...parameters('query', shapes.query), ...parameters('path', shapes.path)],
    ...(shapes.body === undefined ? {} : { requestBody: { required: true, content: content(shapes.body) } }),
    responses: { ...done, default: { description: 'Refused or failed.', content: content(failure) } },
  };
}

function parameters(place: 'query' | 'path', shape: z.ZodObject | undefined): readonly Json[] {
  if (shape === undefined) return [];
  return Object.entries(shape.shape).map(([name, schema]) => ({
    name,
    in: place,
    required: place === 'path' || !schema.safeParse(undefined).success,
    schema: schemaOf(schema as z.ZodType),
  }));
}

function content(schema: z.ZodType): Json {
  return { 'application/json': { schema: schemaOf(schema) } };
}

function schemaOf(schema: z.ZodType): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input' });
  return rest;
}
