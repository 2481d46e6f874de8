/** Run by `npm run build:ts`: writes the table of commands that completion reads. */
import { writeFileSync } from 'node:fs';
import { COMMANDS } from '../src/cli/commands.ts';
import { completionTable } from '../src/cli/completion/table.ts';

const TABLE = new URL('../src/cli/completion/table.json', import.meta.url);
writeFileSync(TABLE, JSON.stringify(completionTable(Object.values(COMMANDS))));
