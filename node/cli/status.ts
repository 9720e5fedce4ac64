/**
 * `fairway status` and `fairway image NAME`: the mesh as each region sees it, for people and as JSON.
 */
import type { Command } from 'commander';
import { messageOf } from '#domain/errors.ts';
import type { ImageStatus, MeshStatus, PeerStatus } from '#http/views.ts';
import { systemClock } from '#runtime/clock.ts';
import { WrongCallError } from './exit.ts';
import {
  findRegions,
  firstThatAnswers,
  type RegionApi,
  type ServerOptions,
  withServerOptions,
} from './management-calls.ts';
import { durationText, sizeText, table } from './table.ts';

type Options = ServerOptions & { readonly json?: boolean };
type RegionAnswer = { readonly region: string; readonly status?: MeshStatus; readonly problem?: string };

export function registerStatus(program: Command): void {
  withServerOptions(program.command('status'))
    .description('regions, links, lag, what is behind, sole copies; exit code 1 when something is not well')
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExamples:\n  fairway status\n  fairway status --region us-east --json')
    .action(async (options: Options) => {
      const answers = await Promise.all(findRegions(options).map(askStatus));
      process.stdout.write(options.json ? `${JSON.stringify(answers, undefined, 2)}\n` : statusText(answers));
      process.exitCode = answers.every(isWell) ? 0 : 1;
    });

  withServerOptions(program.command('image <name>'))
    .description(
      'an image, region by region: complete, filling or known only; from where, how many bytes, when',
    )
    .option('--json', 'print JSON')
    .addHelpText('after', '\nExamples:\n  fairway image demo/alpine:1\n  fairway image demo/alpine@sha256:…')
    .action(async (name: string, options: Options) => {
      const api = firstThatAnswers(findRegions(options));
      const { status, json } = await api.request('GET', '/api/v1/images', { query: { name } });
      if (status === 400) throw new WrongCallError(errorOf(json));
      if (status !== 200) throw new Error(errorOf(json));
      const image = json as ImageStatus;
      process.stdout.write(options.json ? `${JSON.stringify(image, undefined, 2)}\n` : imageText(image));
    });
}

async function askStatus(api: RegionApi): Promise<RegionAnswer> {
  try {
    const { status, json } = await api.request('GET', '/api/v1/status');
    if (status === 200) return { region: api.name, status: json as MeshStatus };
    return { region: api.name, problem: errorOf(json) };
  } catch (thrown) {
    return { region: api.name, problem: messageOf(thrown) };
  }
}

function isWell(answer: RegionAnswer): boolean {
  return answer.status?.peers.every((peer) => peer.up && peer.behindClaims === 0) ?? false;
}

function statusText(answers: readonly RegionAnswer[]): string {
  const rows = answers.map(({ region, status }) =>
    status === undefined
      ? [region, 'down', '-', '-', '-', '-', '-']
      : [
          region,
          'up',
          status.registry,
          String(status.tags),
          String(status.manifests),
          `${status.blobs.count} (${sizeText(status.blobs.sizeBytes)})`,
          tasksText(status),
        ],
  );
  const links = answers.flatMap(({ region, status }) =>
    (status?.peers ?? []).map((peer) => linkRow(region, peer)),
  );
  const problems = answers.flatMap(({ problem }) => (problem === undefined ? [] : [problem]));
  return [
    table(['REGION', 'STATE', 'REGISTRY', 'TAGS', 'MANIFESTS', 'BLOBS HERE', 'COPY TASKS'], rows),
    '',
    table(['REGION', 'HEARS', 'LINK', 'ROUND TRIP', 'BEHIND', 'NOT YET CONFIRMED BY IT'], links),
    '',
    ...soleCopies(answers),
    ...problems,
    '',
  ].join('\n');
}

function tasksText(status: MeshStatus): string {
  const { queued, running, parked } = status.tasks;
  const waiting = queued + running === 0 ? 'none waiting' : `${queued} queued, ${running} running`;
  return parked === 0 ? waiting : `${waiting}, ${parked} parked`;
}

function linkRow(region: string, peer: PeerStatus): readonly string[] {
  const since = durationText(systemClock.nowMs() - peer.sinceMs);
  const lag = peer.lagMs > 0 ? ` for ${durationText(peer.lagMs)}` : '';
  return [
    region,
    peer.region,
    peer.up ? `up for ${since}` : `down for ${since}: ${peer.reason}`,
    peer.up ? `${peer.roundTripMs.toFixed(1)} ms` : '-',
    peer.behindClaims === 0 ? 'nothing' : `${peer.behindClaims} claims${lag}`,
    peer.unconfirmedClaims === 0 ? 'nothing' : `${peer.unconfirmedClaims} claims`,
  ];
}

/** Content that would be lost with its region. */
function soleCopies(answers: readonly RegionAnswer[]): readonly string[] {
  const rows = answers.flatMap(({ region, status }) =>
    (status?.soleCopies ?? []).map((copy) => [
      region,
      `${copy.repository}${copy.tags.length > 0 ? `:${copy.tags.join(',')}` : ''}`,
      copy.digest.slice(0, 19),
    ]),
  );
  const silent = answers.filter(({ status }) => status === undefined).length;
  if (rows.length === 0 && silent > 0)
    return [`Sole copies are not known: ${silent} regions did not answer.`];
  if (rows.length === 0) return ['No sole copies: every tagged image is whole in two regions or more.'];
  const more = answers.some(({ status }) => status?.soleCopiesCapped)
    ? ['(the list is cut; there are more)']
    : [];
  return [
    table(['ONLY IN', 'IMAGE', 'DIGEST'], rows.slice(0, SOLE_COPIES_SHOWN)),
    ...cutNote(rows.length),
    ...more,
  ];
}

const SOLE_COPIES_SHOWN = 20;

function cutNote(count: number): readonly string[] {
  return count <= SOLE_COPIES_SHOWN ? [] : [`… and ${count - SOLE_COPIES_SHOWN} more; --json lists them`];
}

function imageText(image: ImageStatus): string {
  const rows = image.regions.map((region) => [
    region.region,
    region.state === 'known' ? 'known only' : region.state,
    `${sizeText(region.sizeBytesHere)} of ${sizeText(region.sizeBytes)}`,
    Object.entries(region.bytesBySource)
      .map(([source, bytes]) => `${source} (${sizeText(bytes)})`)
      .join(', ') || '-',
    region.storedMs === 0 ? '-' : new Date(region.storedMs).toISOString(),
  ]);
  return [
    `${image.repository}@${image.digest}`,
    `${image.mediaType}${image.tags.length > 0 ? `, tagged ${image.tags.join(', ')}` : ''}${image.conflict ? ', IN CONFLICT' : ''}`,
    '',
    table(['REGION', 'STATE', 'BYTES HERE', 'CAME FROM', 'LAST STORED'], rows),
    '',
  ].join('\n');
}

function errorOf(json: unknown): string {
  const error = (json as { error?: { message?: string } } | undefined)?.error;
  return error?.message ?? 'the management API answered with something unexpected';
}
