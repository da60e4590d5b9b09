-- Plain GET requests; done() prints what happened as one line of JSON.
dofile(debug.getinfo(1, 'S').source:match('^@(.*/)') .. 'report.lua')
