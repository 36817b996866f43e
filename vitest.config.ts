// Two projects: `fast` needs nothing but this repository; `slow` (test/slow/) starts programs,
// ports and child processes and may take seconds. Much of that is waiting, so two of its files run
// side by side; none depends on how long something takes but for limits far above it.
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'fast',
          include: ['test/**/*.test.ts'],
          exclude: ['test/slow/**'],
          // A process imports what several files need once; half of the time was importing. So a file
          // must leave nothing changed that another one imports, too.
          isolate: false,
          restoreMocks: true,
          // Vitest leaves one core to itself; on two cores that would be half of the speed.
          maxWorkers: 2,
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'slow',
          include: ['test/slow/**/*.test.ts'],
          maxWorkers: 2,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
})
