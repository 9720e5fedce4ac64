/**
 * The management API as an OpenAPI 3.1 document, made from the schemas that the server validates with.
 * Source: OpenAPI Specification 3.1, whose schemas are JSON Schema 2020-12.
 */
import { z } from 'zod';
import {
  appliedList,
  applyQuery,
  conflictChoice,
  conflictList,
  conflictQuery,
  failure,
  imageQuery,
  imageStatus,
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
  shapes: { readonly query?: z.ZodObject; readonly path?: z.ZodObject; readonly answer?: z.ZodType },
): Json {
  const done =
    shapes.answer === undefined
      ? { 204: { description: 'Done.' } }
      : { 200: { description: 'Done.', content: content(shapes.answer) } };
  return {
    summary,
    parameters: [...parameters('query', shapes.query), ...parameters('path', shapes.path)],
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
