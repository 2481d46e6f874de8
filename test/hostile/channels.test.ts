import { CHANNEL_ROWS } from '../support/hostile/rows/channels.ts';
import { describeRows } from '../support/hostile/suite.ts';

describeRows('channels', CHANNEL_ROWS);
