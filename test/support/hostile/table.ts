/** The table of docs/hostile.md, made from the rows. */
import type { LocalRow } from './local.ts';
import type { Outcome, Row } from './row.ts';
import { CHANNEL_ROWS } from './rows/channels.ts';
import { EXCHANGE_ROWS } from './rows/exchange.ts';
import { FORWARD_ROWS } from './rows/forwards.ts';
import { IDENTIFICATION_ROWS } from './rows/identification.ts';
import { LOGIN_ROWS } from './rows/login.ts';
import { NC_ROWS } from './rows/nc.ts';
import { OPENSSH_ROWS } from './rows/openssh.ts';
import { SOCKET_PATH_ROWS } from './rows/socketpaths.ts';
import { TRANSPORT_ROWS } from './rows/transport.ts';

export const GROUPS: readonly (readonly [title: string, rows: readonly Row[]])[] = [
  ['Before it has identified itself', IDENTIFICATION_ROWS],
  ['Key exchange', EXCHANGE_ROWS],
  ['Login', LOGIN_ROWS],
  ['Channels', CHANNEL_ROWS],
  ['At any time', TRANSPORT_ROWS],
  ["With the system's ssh", OPENSSH_ROWS],
];

/** Those of local.ts. */
export const LOCAL_GROUPS: readonly (readonly [title: string, rows: readonly LocalRow[]])[] = [
  ['Forwards', FORWARD_ROWS],
  ['Paths of sockets', SOCKET_PATH_ROWS],
  ['tunnel nc', NC_ROWS],
];

function outcomeText(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'start fails':
      return `\`${outcome.code.replaceAll('|', '` or `').replace('.*', '...')}\`, ${outcome.status}`;
    case 'program ends':
      return `\`${outcome.code}\`, ${outcome.status}`;
    case 'link is lost':
      return 'the link';
    case 'link stands':
      return outcome.flow === 'refused' || outcome.flow === 'ends' ? 'that connection' : 'nothing';
  }
}

export function tableOf(rows: readonly Row[]): string {
  const lines = rows.map(({ name, does, told, outcome, counter, todo }) => {
    const counted = counter === undefined ? '' : `\`${counter}\``;
    const open = todo === undefined ? '' : ` (not yet: ${todo})`;
    return `| ${name} | ${does} | ${told}${open} | ${outcomeText(outcome)} | ${counted} |`;
  });
  return [
    '| row | the server | the user is told | what ends | counter |',
    '|---|---|---|---|---|',
    ...lines,
  ].join('\n');
}

export function localTableOf(rows: readonly LocalRow[]): string {
  const lines = rows.map(({ name, does, told, ends, counter }) => {
    const counted = counter === undefined ? '' : `\`${counter}\``;
    return `| ${name} | ${does} | ${told} | ${ends} | ${counted} |`;
  });
  return [
    '| row | who does what | the user is told | what ends | counter |',
    '|---|---|---|---|---|',
    ...lines,
  ].join('\n');
}
