/** Generated YAML documents with one scalar each, in all its forms, for comparison with PyYAML. */
import { SeededRandom } from './tcprandom.ts';

/** What people have in clouds.yaml, and what decides between text and something else. */
const KNOWN = [
  ...['0089123', '08123456', '1234e5678', '1e3', '08', 'y', 'n', 'yes', 'No', 'ON', 'off', 'TRUE'],
  ...['~', 'null', 'Null', 'NULL', 'nULL', '', '0', '-0', '+0', '00', '007', '0_7', '0b11', '0x1F'],
  ...['1_000', '_1', '1_', '12:30', '12:30:45', '12:60', '1:2.5', '190:20:30', '0b', '0x_', '-0b_'],
  ...['1.5', '1.50', '.5', '-.5', '+.5', '5.', '1.e+3', '1.0e3', '1.0e+3', '1.0E-7', '1e+16'],
  ...['1.0e+16', '1.0e+15', '.inf', '-.INF', '+.Inf', '.nan', '.NaN', '-.nan', '0.00001', '0.0001'],
  ...['123456789012345678.0', '1.7976931348623157e+309', '5.0e-324', '9007199254740993', '0o17'],
  ...['2021-01-01', '2021-1-1', '2021-01-01 10:00:00', '2021-01-01T10:00:00Z', '2021-13-45'],
  ...[
    '2021-01-01t1:00:00.5 +1:00',
    '=',
    '<<',
    '-',
    '?',
    ':',
    '!',
    '&',
    '*',
    '%',
    '@',
    '`',
    '|',
    '>',
  ],
  ...['12345678901234567890123456789012', '4e5678901234567890123456789012ab', '0'.repeat(32)],
  ...['1'.repeat(32), 'a b', 'a: b', 'a #b', 'a#b', 'a:b', '#a', "it's", '"', "'", '\\n', 'ü', '€'],
  ...['😀', 'pass,word', '[x', 'x]', '{x', 'x}', '-x', '?x', ':x', '- x', '? x', ': x', '--- x'],
  ...['%x', '@x', '`x', '!x', '!!str 1', '!!int 1', '!!float 1', '!!bool yes', '!!null x', '! 1'],
  ...['!vault x', '!!binary aGk=', '!<tag:yaml.org,2002:str> 1', '&a 1', '*a', 'x ', ' x', 'x\ty'],
] as const;

const CHARACTERS = [...'0123456789abcdefxyzXYZ+-_.:,eEoOnNtTfFsS~=<>#&*!|%@`\'"\\[]{}? /$^()ü\t'];
const NUMERIC = [...'00112345678999_.+-:eEx'];

function word(random: SeededRandom, characters: readonly string[], longest: number): string {
  const length = 1 + random.below(longest);
  return Array.from({ length }, () => characters[random.below(characters.length)] ?? '').join('');
}

function written(random: SeededRandom): string {
  if (random.chance(0.25)) return KNOWN[random.below(KNOWN.length)] ?? '';
  if (random.chance(0.5)) return word(random, NUMERIC, 9);
  return word(random, CHARACTERS, 10);
}

/** A document whose scalar is without quotes, in quotes, in a block, or in a flow collection. */
function document(random: SeededRandom): string {
  const text = written(random);
  switch (random.below(12)) {
    case 0:
      return `password: '${text.replaceAll("'", random.chance(0.9) ? "''" : "'")}'\n`;
    case 1:
      return `password: "${random.chance(0.5) ? text : text.replace(/["\\]/g, '\\$&')}"\n`;
    case 2:
      return `password: ${random.pick(['|', '>', '|-', '>-', '|+', '>+'])}\n  ${text}\n`;
    case 3:
      return `{password: ${text}}\n`;
    case 4:
      return `regions: [${text}, b]\n`;
    case 5:
      return `regions:\n- ${text}\n- ${written(random)}\n`;
    case 6:
      return `${text}: 1\n`;
    case 7:
      return `password: ${text}   # a comment\nb: ${written(random)}\n`;
    default:
      return `auth:\n  password: ${text}\n  username: u\n`;
  }
}

/** The same for the same seed. */
export function yamlDocuments(count: number, seed: number): string[] {
  const random = new SeededRandom(seed);
  const known = KNOWN.map((text) => `password: ${text}\n`);
  const generated = Array.from({ length: count - known.length }, () => document(random));
  return [...known, ...generated];
}
